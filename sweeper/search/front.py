"""The Pareto front of a search with several objectives: what no other configuration beats in all of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from optuna._hypervolume import compute_hypervolume  # the function behind Optuna's plot, which has no public name

from sweeper.search.space import Objective, Params


@dataclass(frozen=True)
class FrontPoint:
    """A configuration on the front."""

    trial: int
    params: Params
    values: Sequence[float]
    """the objectives, mean over its runs"""


class Front:
    """Finished configurations that no other dominates: is at least as good in all objectives, and better in one."""

    def __init__(self, objectives: Sequence[Objective]) -> None:
        self.objectives = objectives
        self.points: list[FrontPoint] = []
        """in the order of trials"""
        self.worst: list[float] = []
        """the worst value of each objective that any finished configuration has had; empty before one has finished"""
        self._signs = [-1 if one.direction == "maximize" else 1 for one in objectives]

    def add(self, point: FrontPoint, *, feasible: bool) -> None:
        """Note a finished configuration; one that is not ``feasible`` counts for ``worst`` alone."""
        losses = self._losses(point.values)
        before = self._losses(self.worst) if self.worst else losses
        self.worst = [sign * max(two) for sign, *two in zip(self._signs, losses, before, strict=True)]
        if not feasible or any(_dominates(self._losses(other.values), losses) for other in self.points):
            return
        kept = [other for other in self.points if not _dominates(losses, self._losses(other.values))]
        self.points = sorted([*kept, point], key=lambda one: one.trial)

    @property
    def hypervolume(self) -> float | None:
        """What the front dominates, measured from ``worst``: the product of the objectives' units. None if it is empty.

        It grows when the front gets better, and when a configuration is worse than all before in an objective.
        """
        if not self.points:
            return None
        losses = np.array([self._losses(point.values) for point in self.points])
        return float(compute_hypervolume(losses, np.array(self._losses(self.worst))))

    def _losses(self, values: Sequence[float]) -> list[float]:
        """The same, the smaller the better."""
        return [sign * value for sign, value in zip(self._signs, values, strict=True)]


def _dominates(first: Sequence[float], second: Sequence[float]) -> bool:
    return first != second and all(a <= b for a, b in zip(first, second, strict=True))
