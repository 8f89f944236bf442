"""Simulate a pruner on the trials of a sweep that ran to their end."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import TrialState

from sweeper.search import samplers


@dataclass(frozen=True)
class CompletedTrial:
    """A trial that ran to its end; means over its seeds, a value a task."""

    number: int
    value_T: Sequence[float]
    """NaN after a task that lacks the metric; the last has it"""
    device_s_T: Sequence[float]


@dataclass(frozen=True)
class SimulatedPruning:
    """What a pruner would have done with a sweep."""

    pruned: dict[int, int]
    """tasks done when pruned, by trial"""
    saved_s: float
    """device seconds of tasks that would not have been trained"""
    winner: int
    """the best trial where nothing is pruned"""
    best_left: int | None
    """the best of those that are not pruned"""


def simulate_pruner(
    completed: Sequence[CompletedTrial], pruning: samplers.PrunerConfig, *, name: str, maximize: bool
) -> SimulatedPruning:
    """Put the pruner to every trial after each of its tasks but the last, as if they had run one after another.

    ``completed``: in the order of numbers; ``name``: of the sweep. Hyperband looks at both.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=name, direction="maximize" if maximize else "minimize", pruner=samplers.pruner(pruning)
    )
    pruned: dict[int, int] = {}
    saved_s = 0.0
    for one in completed:
        while (trial := study.ask()).number < one.number:
            study.tell(trial, state=TrialState.FAIL)
        for task, value in enumerate(one.value_T, 1):
            if not math.isfinite(value):
                continue
            trial.report(value, task)
            if task < len(one.value_T) and trial.should_prune():
                pruned[one.number] = task
                saved_s += sum(one.device_s_T[task:])
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            study.tell(trial, one.value_T[-1])

    def best(trials: Sequence[CompletedTrial]) -> int:
        return (max if maximize else min)(trials, key=lambda one: one.value_T[-1]).number

    left = [one for one in completed if one.number not in pruned]
    return SimulatedPruning(pruned, saved_s, best(completed), best(left) if left else None)
