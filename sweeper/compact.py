"""Merge a sweep's files of runs: ``python -m sweeper.compact SWEEP [--results DIR]``.

A running sweep merges blocks of its own accord; this merges all that is stored, as a last step before archiving.
"""

import argparse
import sys

from sweeper.reporting.arguments import command_parser
from sweeper.store.lease import Lease
from sweeper.store.store import Store
from sweeper.store.sweeps import find_sweep
from trainer.errors import exit_code
from trainer.words import format_count


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    store = Store(find_sweep(arguments.results, arguments.sweep).parent, arguments.sweep)
    runs = store.folder.child("runs")
    with Lease.acquire(store.folder) as lease:
        store.lease = lease
        before = len(runs.names())
        store.compact()
        after = len(runs.names())
    stored = format_count(len(store.trials()), "configuration")
    if before == after:
        print(f"{runs}: nothing to merge: {stored} in {format_count(after, 'file')}")
    else:
        print(f"{runs}: {format_count(before, 'file')} merged into {after}, which hold {stored}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The arguments of this command."""
    return command_parser("compact", "Merge a sweep's files of runs.", "name of a sweep that is not running")


if __name__ == "__main__":
    sys.exit(exit_code(main))
