"""Reproduce a table or figure and compare it with the paper's numbers: ``python -m benchmarks.paper table1``.

Stored runs are not trained again, so an interrupted table resumes. ``--data``, ``--columns``, ``--only``, ``--seeds``,
``--epochs-scale`` and ``--set`` reduce a table, which its header then says. ``table1 --tuned`` first searches each
system's own space, all with the same number of trials.
"""

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.paper import layout, tuned
from benchmarks.paper.cells import Cell, Choice, cells, departures
from benchmarks.paper.measure import Measured, fingerprints, measure, unstored
from benchmarks.paper.report import Report, Section
from benchmarks.paper.tables import TABLES, Table
from sweeper.reporting.arguments import add_address, add_results
from sweeper.search.space import Resources
from sweeper.store.folder import Folder
from sweeper.store.store import Store
from trainer.command import Parser, at_least, program, words
from trainer.config.files import dump_run
from trainer.errors import ConfigError, UserError, exit_code
from trainer.files import atomic_write

T = TypeVar("T")


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    table = TABLES[arguments.table]
    if arguments.tuned and arguments.table != "table1":
        raise ConfigError(f"{arguments.table} has no searches", field="--tuned", allowed="with table1")
    choice = Choice(
        data=arguments.data,
        only=arguments.only,
        columns=arguments.columns,
        seeds=arguments.seeds,
        epochs_scale=arguments.epochs_scale,
        sets=tuple(arguments.set),
    )
    store = Store(Folder.at(arguments.results), f"paper-{arguments.table}")
    resources = Resources(cpu=arguments.cpu, gpu=arguments.gpu)
    name = arguments.name or arguments.table + ("-tuned" if arguments.tuned else "")
    command = shlex.join([*words("benchmarks.paper"), *(sys.argv[1:] if argv is None else argv)])
    out = Path(arguments.out)
    if arguments.write_run_files:
        every = replace(table, rows=(*table.rows, *table.further_rows))
        return _write_run_files(cells(every, choice), Path(arguments.write_run_files))
    if arguments.tuned:
        search = tuned.Search(table, choice, store, resources, arguments.address, arguments.trials, out / "spaces")
        if arguments.dry_run:
            return search.plan()
        report, measured = search.report(name, command)
    else:
        found = cells(table, choice)
        if arguments.dry_run:
            return _plan(table, found, store, choice)
        measured = measure(found, store, resources, arguments.address, _say)
        report = _report(name, arguments.table, table, choice, measured, command)
    report.show()
    for file in report.write(out, measured):
        print(file)
    return 0 if all(one.runs for one in measured) else 1


def _write_run_files(found: Sequence[Cell], folder: Path) -> int:
    """Write a run file for each cell, with the first of its seeds, and print their paths."""
    for cell in found:
        file = folder / f"{cell.slug}.yaml"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            atomic_write(file, f"# {cell.label}\n{dump_run(cell.configs[0])}".encode())
        except OSError as error:
            raise UserError(f"{file}: cannot be written: {error.strerror}") from None
        print(file)
    return 0


def _report(name: str, key: str, table: Table, choice: Choice, measured: Sequence[Measured], command: str) -> Report:
    less = departures(table, choice)
    entries = layout.entries(table, key, measured, reduced=bool(less))
    data = list(dict.fromkeys(one.cell.data for one in measured))
    return Report(
        name=name,
        table=table,
        departures=less,
        command=command,
        sections=[Section(one, *layout.grid(table, entries, one)) for one in data],
        notes=[line for one in data for line in layout.orders(table, entries, one)],
        entries=entries,
        stepwise=layout.steps(table, measured),
    )


def _plan(table: Table, found: Sequence[Cell], store: Store, choice: Choice) -> int:
    """Print what would be trained, and start nothing."""
    missing = {cell.label for cell in unstored(found, store, fingerprints(found))}
    _say(f"{table.title}: {len(found)} cells x {len(choice.seeds)} seeds; results in {store.folder}")
    less = departures(table, choice)
    if less:
        _say(f"REDUCED, not the paper's table: {'; '.join(less)}")
    for cell in found:
        optim = cell.configs[0].optim
        _say(f"  {'to train' if cell.label in missing else 'stored  '}  {cell.label} ({optim.epochs} epochs a task)")
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


def _listed(kind: Callable[[str], T]) -> Callable[[str], tuple[T, ...]]:
    def parse(text: str) -> tuple[T, ...]:
        return tuple(kind(part.strip()) for part in text.split(",") if part.strip())

    parse.__name__ = f"list of {kind.__name__}"
    return parse


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value <= 100:
        raise argparse.ArgumentTypeError(f"{text}: must be above 0 and at most 100")
    return value


def _seeds(text: str) -> tuple[int, ...]:
    seeds = _listed(int)(text)
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise argparse.ArgumentTypeError(f"{text}: must be distinct integers from 0, such as 0,1,2")
    return seeds


def parser() -> argparse.ArgumentParser:
    """The arguments of this command."""
    made = Parser(prog=program("benchmarks.paper"), description="Reproduce a table or figure of the paper.")
    made.add_argument("table", choices=TABLES, help="table or figure of the paper")
    names: dict[str, Any] = {"default": (), "type": _listed(str)}
    made.add_argument(
        "--data", metavar="SET,...", help="data sets, such as imagenet32_lt,digits (default: the paper's)", **names
    )
    made.add_argument("--columns", metavar="COLUMN,...", help="columns, such as lfs10 (default: all)", **names)
    made.add_argument("--only", metavar="ROW,...", help="rows, by label (default: all)", **names)
    made.add_argument("--seeds", default=(0, 1, 2), type=_seeds, help="seeds of every cell (default: 0,1,2)")
    made.add_argument("--epochs-scale", default=1.0, type=_positive, metavar="X", help="multiply all epochs by X")
    made.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="override a field")
    made.add_argument("--tuned", action="store_true", help="search each system's own space first")
    made.add_argument("--trials", type=at_least(1), help="configurations per search (default: the file's)")
    made.add_argument("--cpu", type=float, default=1, help="CPUs per training (default: 1)")
    made.add_argument("--gpu", type=float, default=0, help="GPUs per training; 0.25 puts four on one (default: 0)")
    add_results(made)
    made.add_argument("--out", default="out/paper", metavar="DIR", help="folder of the files (default: out/paper)")
    made.add_argument("--name", help="name of the files (default: the table's)")
    add_address(made)
    made.add_argument("--dry-run", action="store_true", help="print what would be trained and start nothing")
    made.add_argument(
        "--write-run-files", metavar="DIR", help="write a run file for each cell of the table and start nothing"
    )
    return made


if __name__ == "__main__":
    sys.exit(exit_code(main))
