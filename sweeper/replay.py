"""Simulate another pruner on a stored sweep: ``python -m sweeper.replay SWEEP --pruning PRUNER``. Nothing is trained.

The pruner sees of each configuration what earlier ones came to, as if they had run one after another. Only
configurations that ran to their end can be simulated: how the others would have continued is not known.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import yaml

from sweeper.reporting import tables
from sweeper.reporting.arguments import add_results
from sweeper.search.samplers import PrunerConfig, check_pruning
from sweeper.search.simulation import CompletedTrial, simulate_pruner
from sweeper.search.space import Space
from sweeper.store.folder import Folder
from sweeper.store.results import open_results
from sweeper.store.sweep_file import read_space
from trainer.errors import ConfigError, StoreError, exit_code

_HEADERS = ("pruning", "pruned", "after task", "device s saved", "kept the winner", "best left")


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    space = read_space(Folder.at(arguments.results).child(arguments.sweep))
    completed = completed_trials(arguments.results, space)
    rows = []
    for text in arguments.pruning:
        found = simulate_pruner(completed, _pruning(text), maximize=space.maximize)
        total_s = sum(sum(trial.device_s_T) for trial in completed)
        task = found.pruned.get(found.winner)
        rows.append(
            [
                text,
                f"{len(found.pruned)} of {found.trials}",
                f"{fmean(found.pruned.values()):.1f}" if found.pruned else "",
                f"{found.saved_s:.0f} of {total_s:.0f}",
                "yes" if task is None else f"no: trial {found.winner} at task {task}",
                "none" if found.best_left is None else f"trial {found.best_left}",
            ]
        )
    tables.print_table(_HEADERS, rows)
    return 0


def completed_trials(results: str, space: Space) -> list[CompletedTrial]:
    """The trials of a stored sweep that ran to their end, in their order. Raises StoreError if none did."""
    rows = (
        open_results(results, space.name)
        .sql(
            f"SELECT trial, task, avg({space.spec.objective.metric}) AS value, sum(device_s + saved_s) AS device_s "
            "FROM tasks WHERE trial IN (SELECT trial FROM seeds WHERE status = 'finished') GROUP BY ALL "
            "ORDER BY trial, task"
        )
        .rows()
    )
    by_trial: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        by_trial.setdefault(row["trial"], []).append(row)
    if not by_trial:
        raise StoreError(f"{space.file}: nothing to simulate: no configuration has finished")
    return [CompletedTrial(t, [r["value"] for r in own], [r["device_s"] for r in own]) for t, own in by_trial.items()]


def _pruning(text: str) -> PrunerConfig:
    """Parse ``NAME`` or ``NAME:{option: value}``. Raises ConfigError for what Optuna does not have or take."""
    name, _, options = text.partition(":")
    try:
        parsed = yaml.safe_load(options) if options.strip() else {}
    except yaml.YAMLError:
        parsed = None
    if not isinstance(parsed, dict):
        raise ConfigError(f"{options.strip()!r} are not options like {{min_resource: 2}}", field=f"--pruning {name}")
    pruning = PrunerConfig(pruner=name, options=parsed)
    check_pruning(pruning, "--pruning")
    return pruning


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sweeper.replay", description="Simulate another pruner on a stored sweep."
    )
    parser.add_argument("sweep", help="name of a sweep, ideally one without pruning")
    parser.add_argument(
        "--pruning",
        action="append",
        metavar="PRUNER[:OPTIONS]",
        help="any pruner of Optuna, such as 'SuccessiveHalvingPruner:{min_resource: 2}'; may be given several times",
        required=True,
    )
    add_results(parser)
    return parser


if __name__ == "__main__":
    sys.exit(exit_code(main))
