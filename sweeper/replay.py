"""Simulate another pruner on a stored sweep: ``python -m sweeper.replay SWEEP --pruning PRUNER``. Nothing is trained.

The pruner sees each configuration after the outcomes of the earlier ones, as if they had run one after another. Only
configurations that ran to their end can be simulated: how the rest would have continued is not known.
"""

import argparse
import sys
from collections.abc import Sequence
from statistics import fmean

from sweeper.reporting.arguments import command_parser
from sweeper.store.sweeps import find_sweep
from trainer import tables
from trainer.errors import exit_code
from trainer.signals import ended_by_signals


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    with ended_by_signals():  # slow to import
        from sweeper.execution.restore import completed_trials  # noqa: PLC0415
        from sweeper.search.samplers import in_one_line, parse_pruning  # noqa: PLC0415
        from sweeper.search.simulation import simulate_pruner  # noqa: PLC0415
        from sweeper.store.sweep_file import read_space  # noqa: PLC0415

    pruning = {text: parse_pruning(text, "--pruning") for text in arguments.pruning}
    space = read_space(find_sweep(arguments.results, arguments.sweep))
    completed = completed_trials(arguments.results, space)
    total_s = sum(sum(trial.device_s_T) for trial in completed)
    rows = []
    for text, config in pruning.items():
        with in_one_line(config, "--pruning"):
            found = simulate_pruner(completed, config, name=space.name, maximize=space.maximize)
        task = found.pruned.get(found.winner)
        rows.append(
            [
                text,
                f"{len(found.pruned)} of {len(completed)}",
                f"{fmean(found.pruned.values()):.1f}" if found.pruned else "",
                f"{found.saved_s:.0f} of {total_s:.0f}",
                "yes" if task is None else f"no: trial {found.winner} at task {task}",
                "none" if found.best_left is None else f"trial {found.best_left}",
            ]
        )
    headers = ("pruning", "pruned", "after task", "device s saved", "kept the winner", "best left")
    tables.print_table(headers, rows)
    return 0


def parser() -> argparse.ArgumentParser:
    """The arguments of this command."""
    made = command_parser(
        "replay", "Simulate another pruner on a stored sweep.", "name of a sweep, ideally one without pruning"
    )
    made.add_argument(
        "--pruning",
        action="append",
        metavar="PRUNER[:OPTIONS]",
        help="any pruner of Optuna, such as 'SuccessiveHalvingPruner:{min_resource: 2}'; may be given several times",
        required=True,
    )
    return made


if __name__ == "__main__":
    sys.exit(exit_code(main))
