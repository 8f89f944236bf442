"""What the further objectives of a search did on the test split, for the leader of a promotion and the incumbent."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sweeper.promotion.statistics import Interval, by_unit
from sweeper.search.constraints import value_of
from sweeper.search.space import Objective
from trainer.results.rows import RunResult


@dataclass(frozen=True)
class FurtherObjective:
    """An objective that does not decide, by run."""

    objective: Objective
    leader: Sequence[float]
    incumbent: Sequence[float]
    seeds: int
    """runs of a unit, which follow each other"""

    @property
    def difference(self) -> Interval:
        """Leader minus incumbent, paired by seed or world."""
        return Interval.paired(self.leader, self.incumbent, self.seeds)

    def row(self) -> list[str]:
        """Cells of a table: metric, direction, both means, and the difference."""
        means = [f"{statistics.fmean(by_unit(values, self.seeds)):.2f}" for values in (self.leader, self.incumbent)]
        return [self.objective.metric, self.objective.direction, *means, str(self.difference)]

    def stated(self) -> dict[str, Any]:
        """The same as a run file's provenance holds it."""
        return {
            "metric": self.objective.metric,
            "direction": self.objective.direction,
            "mean": statistics.fmean(self.leader),
            "incumbent_mean": statistics.fmean(self.incumbent),
            "difference": self.difference.mean,
            "difference_interval": [self.difference.low, self.difference.high],
        }


def further_objectives(
    objectives: Sequence[Objective], leader: Sequence[RunResult], incumbent: Sequence[RunResult], seeds: int
) -> list[FurtherObjective]:
    """Those of ``objectives`` that all runs of both have; ``seeds``: runs of a unit."""
    found = []
    for objective in objectives:
        both = [[value_of(dict(run), objective.metric) for run in runs] for runs in (leader, incumbent)]
        ours, theirs = ([value for value in values if value is not None] for values in both)
        if len(ours) == len(leader) and len(theirs) == len(incumbent):
            found.append(FurtherObjective(objective, ours, theirs, seeds))
    return found
