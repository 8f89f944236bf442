"""Searches replayed on a landscape by the service's own study: what samplers and pruners find for the same training."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.landscape.grid import Grid
from benchmarks.landscape.table import Landscape
from sweeper.search.study import Outcome, Study

SAMPLERS: dict[str, dict[str, Any]] = {
    "random": {"sampler": "RandomSampler"},
    "quasi-random": {"sampler": "QMCSampler", "options": {"warn_independent_sampling": False}},
    "TPE": {"sampler": "TPESampler"},
    "TPE, multivariate": {"sampler": "TPESampler", "options": {"multivariate": True, "constant_liar": True}},
    "Gaussian process": {"sampler": "GPSampler"},
    "CMA-ES": {"sampler": "CmaEsSampler", "options": {"warn_independent_sampling": False}},
}
PRUNERS: dict[str, dict[str, Any] | None] = {
    "none": None,
    "median": {"pruner": "MedianPruner", "options": {"n_startup_trials": 5, "n_warmup_steps": 1}},
    "successive halving": {
        "pruner": "SuccessiveHalvingPruner",
        "options": {"min_resource": 1, "reduction_factor": 2},
    },
    "Hyperband": {"pruner": "HyperbandPruner", "options": {"max_resource": 5, "reduction_factor": 2}},
}


@dataclass(frozen=True)
class Replay:
    """One search."""

    cost_N: NDArray[np.float64]
    """spent by the end of each trial, in whole trainings"""
    regret_N: NDArray[np.float64]
    """points of ACC on test images that the incumbent lacks to the best point, both means over all repetitions"""
    unsearched: float
    """the same of a point that is drawn at random"""

    def at(self, cost: float) -> float:
        """The regret once so much was spent."""
        ended = int(np.searchsorted(self.cost_N, cost, side="right"))
        return float(self.regret_N[ended - 1]) if ended else self.unsearched


def replay(grid: Grid, land: Landscape, settings: Mapping[str, Any], *, seed: int, budget: float) -> Replay:
    """One search that spends ``budget`` whole trainings.

    It is told one repetition's ACC on validation images; the seed decides which. ``settings``: ``search`` and
    ``pruning`` of a search-space file.
    """
    acc_PT = land.acc_RPT["validation"][seed % len(land.repetitions)]
    share_PT = land.device_s_PT / land.device_s_PT.sum(1, keepdims=True)
    truth_P = land.mean("test")
    most = math.ceil(budget * acc_PT.shape[1])  # trials, if each were pruned after its first task
    search = {**settings["search"], "seed": seed}
    study = Study(grid.space(land.system, **{**settings, "search": search}, trials=most))
    unsearched = held = float(truth_P.max() - truth_P.mean())
    spent, best = 0.0, -math.inf
    costs, regrets = list[float](), list[float]()
    while spent < budget and (suggestion := study.ask()) is not None:
        point = land.nearest(suggestion.params)
        outcome, tasks = _outcome(study, suggestion.number, acc_PT[point].tolist())
        study.tell(suggestion.number, outcome)
        spent += float(share_PT[point, :tasks].sum())
        if outcome.value is not None and outcome.value > best:
            best, held = outcome.value, float(truth_P.max() - truth_P[point])
        costs.append(spent)
        regrets.append(held)
    return Replay(np.array(costs), np.array(regrets), unsearched)


def _outcome(study: Study, number: int, acc_T: Sequence[float]) -> tuple[Outcome, int]:
    """What a trial comes to, and after how many tasks."""
    for task, value in enumerate(acc_T):
        if not math.isfinite(value):
            return Outcome("diverged", None), task + 1
        if study.report(number, task, value) and task + 1 < len(acc_T):
            return Outcome("pruned", None), task + 1
    return Outcome("finished", acc_T[-1]), len(acc_T)


def mean_and_interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """The mean with its 95 % interval, by a bootstrap over the values."""
    drawn = np.random.default_rng(0).choice(values, (2000, len(values))).mean(1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(values.mean()), float(low), float(high)
