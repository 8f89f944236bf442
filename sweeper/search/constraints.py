"""Bounds on what a configuration measures or costs, as the mean over its runs."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, Self

from pydantic import Field, model_validator

from trainer.section import Section

COST = "device_s"
"""a column of which what was saved is counted too: a configuration is no cheaper for what others have trained before"""


class Constraint(Section):
    metric: str = Field(description="a column of runs that holds numbers; its mean over a configuration's runs counts")
    at_most: float | None = Field(None, description="upper bound, itself allowed")
    at_least: float | None = Field(None, description="lower bound, itself allowed")

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.at_most is None and self.at_least is None:
            raise ValueError("states no bound; at_most or at_least is required")
        if self.at_most is not None and self.at_least is not None and self.at_most < self.at_least:
            raise ValueError(f"nothing is at most {self.at_most:g} and at least {self.at_least:g}")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each bound, such as ``device_s <= 20``."""
        bounds = (("<=", self.at_most), (">=", self.at_least))
        return tuple(f"{self.metric} {sign} {bound:g}" for sign, bound in bounds if bound is not None)

    def violations(self, runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """How far the mean is past each bound, by its name; 0 or less: it is met.

        ``runs``: their columns by name. Infinity where a run has no value.
        """
        mean = mean_over(runs, self.metric)
        past = [] if self.at_most is None else [mean - self.at_most]
        past += [] if self.at_least is None else [self.at_least - mean]
        return {name: math.inf if math.isnan(far) else far for name, far in zip(self.names, past, strict=True)}


def mean_over(runs: Sequence[Mapping[str, Any]], column: str) -> float:
    """Mean of a column over runs; not a number where one of them has none."""
    values = [value_of(run, column) for run in runs]
    return fmean(math.nan if value is None else value for value in values)


def value_of(run: Mapping[str, Any], column: str) -> float | None:
    """The number in a column of a run; device seconds include those that were saved."""
    value: float | None = run.get(column)
    return value + (run.get("saved_s") or 0.0) if column == COST and value is not None else value
