"""Every system tuned under one budget: its own search on validation images, then fresh seeds on test images.

A search is a sweep as `python -m sweeper.launch` makes it, of `search_spaces/methods/<system>.yaml` on the table's
base, and goes on where it was stopped. The best by the mean over the search's seeds is trained on seeds that chose
nothing, with all training images, and so is the untuned configuration, on the same seeds.
"""

import json
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import yaml

from benchmarks.paper.cells import Cell, Choice, cells, departures
from benchmarks.paper.layout import Entry, entries, orders
from benchmarks.paper.measure import Measured, measure
from benchmarks.paper.report import Report, Section
from benchmarks.paper.systems import Row
from benchmarks.paper.tables import Table
from sweeper import launch
from sweeper.promotion.candidates import TEST_SEEDS
from sweeper.promotion.statistics import Interval
from sweeper.search.repetitions import of_seeds
from sweeper.search.space import Resources, Space
from sweeper.search.words import format_params
from sweeper.store.folder import Folder
from sweeper.store.results import open_results
from sweeper.store.store import Store
from sweeper.store.sweep_file import read_space
from trainer.config.files import dump_run
from trainer.config.yaml_file import load_yaml
from trainer.errors import ConfigError, UserError
from trainer.files import atomic_write

SPACES = Path(__file__).resolve().parents[2] / "search_spaces" / "methods"
_TUNED = ", tuned"


@dataclass(frozen=True)
class Best:
    """What a search has found."""

    cell: Cell
    """untuned"""
    sweep: Space
    params: dict[str, Any]
    searched_pct: float
    """on validation images, mean over the search's seeds"""
    trials: int
    """that have ended"""


@dataclass(frozen=True)
class Search:
    """A table whose systems are tuned first."""

    table: Table
    choice: Choice
    store: Store
    resources: Resources
    address: str | None
    trials: int | None
    """of each search; None: as the files say"""
    spaces: Path
    """where the searches' files are written"""

    def plan(self) -> int:
        """Say what would be searched, and start nothing."""
        for cell in self._cells():
            file = self._space_file(cell)
            print(f"{cell.label}:")
            launch.main([str(file), "--dry-run", "--results", str(self.store.folder.parent)])
        return 0

    def report(self, name: str, command: str) -> tuple[Report, list[Measured]]:
        """Search what is to be searched, train what is to be trained, and tell it."""
        found = [best for cell in self._cells() if (best := self._search(cell)) is not None]
        if not found:
            raise UserError("no search has a configuration that finished: nothing to test")
        seeds = tuple(range(TEST_SEEDS, TEST_SEEDS + len(self.choice.seeds)))
        pairs = [cell for best in found for cell in _both(best, seeds)]
        print(f"the best of each search and the untuned, on test images: seeds {seeds[0]} to {seeds[-1]}", flush=True)
        measured = measure(pairs, self.store, self.resources, self.address, lambda line: print(line, flush=True))
        return self._told(name, command, found, measured), measured

    # -- searching --------------------------------------------------------------------------------

    def _cells(self) -> list[Cell]:
        """Of one column of each data set, unless columns are asked for: a search costs many runs."""
        every = cells(self.table, self.choice)
        if self.choice.columns:
            return every
        first = {cell.data: cell.column for cell in reversed(every)}
        return [cell for cell in every if cell.column == first[cell.data]]

    def _search(self, cell: Cell) -> Best | None:
        file = self._space_file(cell)
        results = self.store.folder.parent
        print(f"\nsearch: {cell.label}", flush=True)
        address = ["--address", self.address] if self.address else []
        code = launch.main([str(file), "--results", str(results), *address])
        if code >= 128:
            raise SystemExit(code)
        # The sweep's own handlers only note a signal; behind it Ctrl-C is to stop this command again.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        return best_of(cell, results, file.stem)

    def _space_file(self, cell: Cell) -> Path:
        """Write the search of a cell, and the run file that it starts from. Raises ConfigError."""
        content = load_yaml(space_of(cell.row))
        base = cell.configs[0]
        name = f"paper-tuned-{cell.slug}-{base.config_id[:6]}"
        run_file, file = self.spaces / "bases" / f"{name}.yaml", self.spaces / f"{name}.yaml"
        content |= {
            "base": str(run_file.absolute()),
            "first": [{name: _value(base.as_dict(), name) for name in content["vary"]}],
            "trials": self.trials or content["trials"],
            "resources": self.resources.model_dump(mode="json"),
            "name": name,
        }
        content.pop("set", None)
        try:
            run_file.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(run_file, dump_run(base).encode())
            atomic_write(file, yaml.safe_dump(content, sort_keys=False).encode())
        except OSError as error:
            raise UserError(f"{file}: cannot be written: {error.strerror}") from None
        return file

    # -- telling ----------------------------------------------------------------------------------

    def _told(self, name: str, command: str, found: Sequence[Best], measured: Sequence[Measured]) -> Report:
        less = departures(self.table, self.choice)
        key = self.store.sweep.removeprefix("paper-")
        own = entries(self.table, key, measured, reduced=bool(less))
        budget = sorted({best.trials for best in found})
        less = [*less, *([f"{budget[0]} to {budget[-1]} trials a search"] if len(budget) > 1 else [])]
        chosen = {(best.cell.data, best.cell.column.label, best.cell.row.label + _TUNED): best for best in found}
        with_params = []
        for entry in own:
            best = chosen.get((entry.data, entry.column, entry.row))
            with_params.append(entry if best is None else replace(entry, params_json=json.dumps(best.params)))
        title = f"{self.table.title}, every system tuned with {budget[-1]} trials"
        places = list(dict.fromkeys((best.cell.data, best.cell.column.label) for best in found))
        return Report(
            name=name,
            table=replace(self.table, title=title),
            departures=less,
            command=command,
            sections=[Section(f"{data} {column}", *grid(found, own, data, column)) for data, column in places],
            notes=[
                line for data in dict.fromkeys(data for data, _ in places) for line in orders(self.table, own, data)
            ],
            entries=with_params,
            stepwise=[],
        )


def space_of(row: Row) -> Path:
    """The default space of a system. Raises ConfigError where there is none."""
    file = SPACES / f"{row.slug}.yaml"
    if not file.exists():
        raise ConfigError(f"{row.label} has no search space", file=str(file))
    return file


def best_of(cell: Cell, results: Folder, sweep: str) -> Best | None:
    """The best of a search by its objective; None if none of its configurations finished."""
    stored = open_results(results, sweep)
    rows = stored.sql("SELECT params_json, mean FROM best").rows()
    trials = stored.sql("SELECT count(*) AS n FROM seeds").rows()[0]["n"]
    if not rows:
        return None
    file = read_space(results.child(sweep))
    return Best(cell, file, json.loads(rows[0]["params_json"]), rows[0]["mean"], trials)


def grid(found: Sequence[Best], own: Sequence[Entry], data: str, column: str) -> tuple[list[str], list[list[str]]]:
    """Headers and rows of one data set and column: what was chosen, and what it gives beside the untuned."""
    here = {entry.row: entry for entry in own if (entry.data, entry.column) == (data, column)}
    source = next((entry.paper_of for entry in here.values() if entry.paper_of), None)
    headers = ["system", "chosen", "trials", "validation", "tuned", "untuned", "gain, 95 % interval"]
    headers += [f"paper ({source})"] if source else []
    lines = []
    for best in found:
        if (best.cell.data, best.cell.column.label) != (data, column):
            continue
        plain, tuned = here[best.cell.row.label], here[best.cell.row.label + _TUNED]
        paired = plain.seeds == tuned.seeds and len(plain.values) == len(plain.seeds) > 1
        line = [
            best.cell.row.label,
            format_params(best.params),
            str(best.trials),
            f"{best.searched_pct:.2f}",
            tuned.ours,
            plain.ours,
            str(Interval.paired(tuned.values, plain.values)) if paired else "",
        ]
        lines.append(line + ([f"{plain.paper:.2f}" if plain.paper is not None else ""] if source else []))
    return headers, lines


def _value(content: Mapping[str, Any], dotted: str) -> Any:
    return reduce(lambda section, name: section[name], dotted.split("."), content)


def _both(best: Best, seeds: Sequence[int]) -> list[Cell]:
    """The untuned and the tuned, on test images."""
    cell, sweep = best.cell, best.sweep
    tuned = Row(cell.row.label + _TUNED, cell.row.changes)
    return [
        replace(cell, configs=tuple(sweep.configs({}, of_seeds(seeds), "test"))),
        replace(cell, row=tuned, configs=tuple(sweep.configs(best.params, of_seeds(seeds), "test"))),
    ]
