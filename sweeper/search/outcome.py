"""What a configuration comes to over its runs: its objectives, and whether it meets the constraints."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sweeper.search.constraints import COST, Constraint, mean_over
from trainer.results.rows import RunResult


@dataclass(frozen=True)
class Outcome:
    """The outcome of a configuration over its seeds."""

    status: str
    """the worst of its runs: failed, diverged, pruned or finished"""
    value: float | None
    """the objective's metric, mean over seeds; None unless all finished"""
    results: Sequence[RunResult] = ()
    others: Mapping[str, float] = field(default_factory=dict)
    """the same of further objectives, by metric; empty without a value"""
    violations: Mapping[str, float] = field(default_factory=dict)
    """how far it is past the bound of each constraint, by its name; empty unless all finished"""

    @property
    def violated(self) -> dict[str, float]:
        """The violations of constraints that it does not meet."""
        return {name: past for name, past in self.violations.items() if past > 0}


@dataclass(frozen=True)
class Goals:
    """What a search wants of a configuration."""

    metric: str
    """column of the objective, of several the first"""
    constraints: Sequence[Constraint] = ()
    others: Sequence[str] = ()
    """columns of further objectives"""

    @property
    def columns(self) -> list[str]:
        """The columns of runs that an outcome is made from."""
        wanted = ["status", self.metric, *self.others, *(one.metric for one in self.constraints)]
        return list(dict.fromkeys([*wanted, "saved_s"] if COST in wanted else wanted))

    @property
    def bounds(self) -> list[str]:
        """Names of all bounds."""
        return [name for one in self.constraints for name in one.names]

    @property
    def reached(self) -> str:
        """What the best configuration has done, in words."""
        return "has finished and meets the constraints" if self.constraints else "has finished"

    def outcome(self, runs: Sequence[Mapping[str, Any]], results: Sequence[RunResult] = ()) -> Outcome:
        """The outcome of runs, given by ``columns``. One that lacks a value has none at all."""
        states = {run["status"] for run in runs}
        status = next((s for s in ("failed", "diverged", "pruned") if s in states), "finished")
        if status != "finished":
            return Outcome(status, None, results)
        value = mean_over(runs, self.metric)
        others = {metric: mean_over(runs, metric) for metric in self.others}
        past = {name: far for one in self.constraints for name, far in one.violations(runs).items()}
        whole = all(map(math.isfinite, (value, *others.values(), *past.values())))
        return Outcome(status, value, results, others, past) if whole else Outcome(status, None, results, {}, past)

    def outcome_of(self, results: Sequence[RunResult]) -> Outcome:
        """The same of the results themselves."""
        return self.outcome([{**result.config, **dict(result)} for result in results], results)
