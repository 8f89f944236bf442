"""Promote the best configuration of a sweep to a canonical run file, if the evidence is there.

``python -m sweeper.promote SWEEP``. The best few are retrained on fresh seeds; the one that leads is promoted if the
paired 95 % interval of its difference to the incumbent (the run file of that name, otherwise the sweep's base) excludes
0. Stored runs are not trained again, so an interrupted promotion resumes.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields

from sweeper.reporting.arguments import add_address, command_parser
from sweeper.store.names import check_name
from sweeper.store.sweeps import find_sweep
from trainer.command import at_least
from trainer.errors import exit_code
from trainer.signals import ended_by_signals


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    folder = find_sweep(arguments.results, arguments.sweep)
    check_name(arguments.sweep if arguments.name is None else arguments.name)
    with ended_by_signals():
        from sweeper.promoter import Choices, promote  # noqa: PLC0415  (slow to import)

    choices = {field.name: getattr(arguments, field.name) for field in fields(Choices)}
    return promote(folder, Choices(**choices), as_json=arguments.json)


def parser() -> argparse.ArgumentParser:
    """The arguments of this command."""
    made = command_parser("promote", "Promote the best configuration of a sweep to a run file.", "name of the sweep")
    made.add_argument("--top", type=at_least(1), default=3, help="number of candidates (default: 3)")
    point = "one candidate instead: the best, balanced or cheapest point of the front, or the number of a trial"
    made.add_argument("--point", metavar="POINT", help=point)
    seeds = "number of fresh seeds (default: 5; in worlds, as many as the search's in each of them)"
    made.add_argument("--seeds", type=at_least(1), help=seeds)
    worlds = "number of fresh worlds (default: 5 if the search has worlds, otherwise none)"
    made.add_argument("--worlds", type=at_least(2), help=worlds)
    on = "test on the images and tasks of this run file: does the best hold on another data set of the same scenario?"
    made.add_argument("--on", metavar="RUN_FILE", help=on)
    made.add_argument("--runs", default="runs", metavar="DIR", help="folder of run files (default: runs)")
    made.add_argument("--name", help="name of the run file (default: the sweep's; SWEEP_on_FILE with --on)")
    made.add_argument("--force", action="store_true", help="write the run file even without evidence")
    made.add_argument("--json", action="store_true", help="print the decision as JSON, and all else on standard error")
    add_address(made)
    return made


if __name__ == "__main__":
    sys.exit(exit_code(main))
