"""What another pruner would have done with a stored sweep: ``python -m sweeper.replay SWEEP --pruning PRUNER``.

The configurations are asked again in their order, and told, task by task, what they reached; nothing is trained. The
pruner sees of each configuration what those before it came to, as if they had run one after another. Only
configurations that ran to their end can be replayed: of the others nobody knows how they would have gone on.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

import optuna
import yaml
from optuna.trial import TrialState

from sweeper.query import open_results
from sweeper.reporting import tables as show
from sweeper.search import samplers
from sweeper.search.samplers import Pruning
from sweeper.store.folder import Folder
from sweeper.store.sweep_file import SweepFile
from trainer.errors import ConfigError, StoreError, exit_code


@dataclass(frozen=True)
class Finished:
    """A configuration that ran to its end; means over its seeds, a value a task."""

    trial: int
    value_T: Sequence[float]
    device_s_T: Sequence[float]


@dataclass(frozen=True)
class Replayed:
    """What a pruner makes of a sweep."""

    configurations: int
    pruned: dict[int, int]
    """tasks done when pruned, by trial"""
    spent_s: float
    saved_s: float
    winner: int
    """the trial that is best where nothing is pruned"""
    best_left: int | None
    """the best of those that are not pruned"""

    @property
    def kept_the_winner(self) -> bool:
        return self.winner not in self.pruned


def replay(finished: Sequence[Finished], pruning: Pruning, *, maximize: bool) -> Replayed:
    """Put the pruner to every configuration after each of its tasks but the last."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    direction: Literal["maximize", "minimize"] = "maximize" if maximize else "minimize"
    study = optuna.create_study(direction=direction, pruner=samplers.pruner(pruning))
    pruned: dict[int, int] = {}
    saved_s = 0.0
    for one in finished:
        asked = study.ask()
        for task, value in enumerate(one.value_T, 1):
            asked.report(value, task)
            if task < len(one.value_T) and asked.should_prune():
                pruned[one.trial] = task
                saved_s += sum(one.device_s_T[task:])
                break
        if one.trial in pruned:
            study.tell(asked, state=TrialState.PRUNED)
        else:
            study.tell(asked, one.value_T[-1])
    total_s = sum(sum(one.device_s_T) for one in finished)
    pick = max if maximize else min
    left = [one for one in finished if one.trial not in pruned]
    return Replayed(
        configurations=len(finished),
        pruned=pruned,
        spent_s=total_s - saved_s,
        saved_s=saved_s,
        winner=pick(finished, key=lambda one: one.value_T[-1]).trial,
        best_left=pick(left, key=lambda one: one.value_T[-1]).trial if left else None,
    )


def finished_of(results: str, sweep: SweepFile) -> list[Finished]:
    """The configurations of a stored sweep that ran to their end, in their order. Raises StoreError if none did."""
    metric = str(sweep.objective["metric"])
    found = open_results(results, sweep.name).sql(
        f"SELECT trial, task, avg({metric}) AS value, sum(device_s + saved_s) AS device_s FROM tasks "
        "WHERE trial IN (SELECT trial FROM seeds WHERE status = 'finished') GROUP BY ALL ORDER BY trial, task"
    )
    by_trial: dict[int, list[dict[str, Any]]] = {}
    for row in found.arrow().to_pylist():
        by_trial.setdefault(row["trial"], []).append(row)
    if not by_trial:
        raise StoreError(f"{sweep.where}: no configuration has finished: nothing to replay")
    return [Finished(t, [r["value"] for r in own], [r["device_s"] for r in own]) for t, own in by_trial.items()]


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    sweep = SweepFile.read(Folder.at(arguments.results).child(arguments.sweep))
    finished = finished_of(arguments.results, sweep)
    rows = []
    for text in arguments.pruning:
        pruning = _pruning(text)
        found = replay(finished, pruning, maximize=sweep.maximize)
        at = fmean(found.pruned.values()) if found.pruned else None
        rows.append(
            [
                text,
                f"{len(found.pruned)} of {found.configurations}",
                "" if at is None else f"{at:.1f}",
                f"{found.saved_s:.0f} of {found.saved_s + found.spent_s:.0f}",
                "yes" if found.kept_the_winner else f"no: trial {found.winner} at task {found.pruned[found.winner]}",
                "none" if found.best_left is None else f"trial {found.best_left}",
            ]
        )
    show.print_table(("pruning", "pruned", "after task", "device s saved", "kept the winner", "best left"), rows)
    return 0


def _pruning(text: str) -> Pruning:
    """``NAME`` or ``NAME:{option: value}``. Raises ConfigError for what Optuna does not have or take."""
    name, _, options = text.partition(":")
    try:
        parsed = yaml.safe_load(options) if options.strip() else {}
    except yaml.YAMLError:
        parsed = None
    if not isinstance(parsed, dict):
        raise ConfigError(f"{options.strip()!r} are no options like {{min_resource: 2}}", field=f"--pruning {name}")
    pruning = Pruning(pruner=name, options=parsed)
    samplers.check_pruning(pruning, "--pruning")
    return pruning


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sweeper.replay", description="What another pruner would have done with a stored sweep."
    )
    parser.add_argument("sweep", help="name of a sweep, best one without pruning")
    parser.add_argument(
        "--pruning",
        action="append",
        metavar="PRUNER[:OPTIONS]",
        help="any of Optuna's, as in 'SuccessiveHalvingPruner:{min_resource: 2}'; may be given several times",
        required=True,
    )
    parser.add_argument("--results", default=os.environ.get("CIL_RESULTS", "results"), help="default: results")
    return parser


if __name__ == "__main__":
    sys.exit(exit_code(main))
