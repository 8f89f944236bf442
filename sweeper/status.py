"""Show the state of sweeps: ``python -m sweeper.status [SWEEP] [--results DIR]``.

The driver writes ``status.json`` at each change; the lease tells whether the driver is still alive.
"""

import argparse
import json
import sys

from sweeper.reporting.arguments import command_parser, next_command
from sweeper.reporting.imports import without_pandas
from sweeper.reporting.state import SweepStatus
from sweeper.search.words import format_params
from sweeper.store.damage import Damage
from sweeper.store.folder import Folder
from sweeper.store.lease import holder
from sweeper.store.status_file import format_duration, read_state
from sweeper.store.sweeps import find_sweep, sweeps
from trainer import tables
from trainer.errors import exit_code
from trainer.words import format_count


def _summary(name: str, folder: Folder) -> list[str]:
    status, state = read_state(folder, Damage())
    if status is None:
        return [name, state, "", "", "", "", "", ""]
    return [
        name,
        "paused" if status.paused and state == "running" else state,
        f"{status.done}/{status.total}",
        str(len(status.running)) if state == "running" else "",
        "" if status.best is None else f"{status.best.value:.6g} (trial {status.best.trial})",
        format_duration(status.eta_s) if state == "running" else "",
        format_duration(status.device_s),
        format_duration(status.saved_s),
    ]


def _details(name: str, folder: Folder) -> None:
    """Print one sweep in detail."""
    with without_pandas():
        from sweeper.reporting.front import print_front  # noqa: PLC0415
        from sweeper.reporting.ledger import Ledger  # noqa: PLC0415  (SQL is slow to import, and the list needs none)
        from sweeper.reporting.methods import print_methods  # noqa: PLC0415
        from sweeper.reporting.steering import print_steering  # noqa: PLC0415
        from sweeper.store.results import open_results  # noqa: PLC0415

    with open_results(folder.parent, name).snapshot() as results:
        ledger = Ledger.of(results, name)  # refuses another schema before a line is printed
        _print_state(name, folder, str(ledger))
        print_steering(results, name)
        print_methods(results, name)
        print_front(results, name)


def _print_state(name: str, folder: Folder, ledger: str) -> None:
    status, state = read_state(folder, Damage(lambda line: None))  # named with the results
    tables.print_line(f"{name}: {state}")
    driver = holder(folder)
    if driver is not None:
        tables.print_line(f"driver: {driver}{'' if driver.alive() else ' (gone)'}")
    elif state == "interrupted":
        tables.print_line(f"driver: not known: {folder}/lease.json is missing or damaged")
    if status is None:
        tables.print_line(f"nothing is known: {folder}/status.json is missing or damaged")
        return
    ends = ((status.pruned, "pruned"), (status.diverged, "diverged"), (status.failed, "failed"))
    of_them = ", ".join(f"{count} {end}" for count, end in ends if count)
    count = format_count(status.total, "configuration")
    tables.print_line(f"done: {status.done} of {count}" + (f" ({of_them})" if of_them else ""))
    if status.paused and state != "finished":
        resume = next_command("sweeper.steer", name, "resume", results=folder.parent)
        tables.print_line(f"paused {status.paused}: no trial is started; to resume: {resume}")
    if status.best is not None:
        tables.print_line(
            f"best: {status.best.value:.6g}, trial {status.best.trial}, {format_params(status.best.params)}"
        )
    if status.front:
        worst = ", ".join(f"{metric} {value:.6g}" for metric, value in zip(status.metrics, status.worst, strict=True))
        count = format_count(len(status.front), "configuration")
        tables.print_line(f"front: {count}; hypervolume {status.hypervolume:.6g}, measured from {worst}")
    if state == "running":
        tables.print_line(f"time left: {format_duration(status.eta_s) or 'not known yet'}")
        if status.waiting:
            tables.print_line(f"waiting: {status.waiting}")
    tables.print_line(f"ledger: {ledger}")
    tables.print_line(f"last change: {status.ago()}")
    if status.running and state == "running":
        rows = [
            [str(r.trial), f"{r.task}/{r.tasks}", "" if r.value is None else f"{r.value:.6g}", format_params(r.params)]
            for r in status.running
        ]
        tables.print_table(("trial", "task", "so far", "params"), rows)


def _print_json(root: Folder, sweep: str | None, found: list[str]) -> None:
    """Print one sweep as an object, or all as a list of them."""
    if sweep is not None:
        print(SweepStatus.of(sweep, find_sweep(root, sweep)).model_dump_json(indent=1))
    else:
        every = [SweepStatus.of(name, root.child(name)).model_dump(mode="json") for name in found]
        print(json.dumps(every, indent=1, allow_nan=False))


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    root, found = Folder.at(arguments.results), sweeps(arguments.results)
    if arguments.json:
        _print_json(root, arguments.sweep, found)
    elif arguments.sweep is not None:
        _details(arguments.sweep, find_sweep(root, arguments.sweep))
    elif found:
        headers = ("sweep", "state", "done", "running", "best", "time left", "device time", "saved")
        tables.print_table(headers, [_summary(name, root.child(name)) for name in found])
    else:
        print(f"no sweeps in {root}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The arguments of this command."""
    made = command_parser("status", "Show the state of sweeps.")
    made.add_argument("sweep", nargs="?", help="name of the sweep to show in detail (default: a line for each sweep)")
    made.add_argument(
        "--json", action="store_true", help="print JSON: an object for one sweep, otherwise a list of them"
    )
    return made


if __name__ == "__main__":
    sys.exit(exit_code(main))
