"""The dimensions of a search space: what values a field of the run file is given."""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Self, cast

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial, create_trial
from pydantic import BeforeValidator, Field, model_validator

from trainer.errors import shown
from trainer.section import Section

Value = str | int | float | bool
as_tuple = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)


class Dimension(Section):
    """What every dimension has."""

    when: dict[str, Value | Annotated[tuple[Value, ...], as_tuple]] = Field(
        {}, description="search this dimension only where these earlier ones have this value, or one of these"
    )
    type: str

    def conditions(self) -> Iterator[tuple[str, tuple[Value, ...]]]:
        """The earlier dimensions that it depends on, each with the values for which it is searched."""
        for name, allowed in self.when.items():
            yield name, allowed if isinstance(allowed, tuple) else (allowed,)

    def active(self, params: Mapping[str, Any]) -> bool:
        """Whether the dimension is searched, given the values of the earlier ones."""
        return all(
            name in params and any(_same(params[name], value) for value in values) for name, values in self.conditions()
        )


class Range(Dimension):
    """Numbers from ``low`` to ``high``, both included."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low {shown(self.low)} must be below high {shown(self.high)}")
        if self.log and self.low <= 0:
            raise ValueError(f"low {shown(self.low)} must be above 0 on a log scale")
        if self.log and self.step != type(self).model_fields["step"].default:
            raise ValueError("log and step are mutually exclusive")
        return self

    def suggest(self, trial: Trial, name: str) -> Value:
        """Optuna's value of the dimension for a trial."""
        suggest: Any = trial.suggest_int if self.type == "int" else trial.suggest_float
        return suggest(name, self.low, self.high, log=self.log, step=self.step)

    def distribution(self) -> BaseDistribution:
        """The dimension as Optuna stores it."""
        distribution: Any = IntDistribution if self.type == "int" else FloatDistribution
        return cast(BaseDistribution, distribution(self.low, self.high, log=self.log, step=self.step))

    def corners(self) -> Sequence[Value]:
        """The values that a run file must take: both bounds."""
        return self.low, self.high

    def contains(self, value: Value) -> bool:
        """Whether ``value`` is one of the dimension's."""
        if isinstance(value, (bool, str)):
            return False
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Optuna lowers a `high` that steps do not reach
                own = self.distribution()
            create_trial(params={"value": value}, distributions={"value": own}, value=0.0)
        except (ValueError, OverflowError):  # of an integer that no float can hold
            return False
        return True

    def __str__(self) -> str:
        steps = "" if self.step is None else f" in steps of {shown(self.step)}"
        return f"{shown(self.low)} to {shown(self.high)}{steps}"


class FloatDimension(Range):
    """Real numbers."""

    type: Literal["float"]
    step: float | None = Field(None, gt=0)


class IntDimension(Range):
    """Whole numbers."""

    type: Literal["int"]
    low: int
    high: int
    step: int = Field(1, ge=1)


class CategoricalDimension(Dimension):
    """One of a few choices."""

    type: Literal["categorical"]
    choices: Annotated[tuple[Value, ...], as_tuple] = Field(min_length=1)

    @model_validator(mode="after")
    def _choices_differ(self) -> Self:
        if len(set(self.choices)) < len(self.choices):
            raise ValueError("choices must be different (1, 1.0 and true are equal)")
        return self

    def suggest(self, trial: Trial, name: str) -> Value:
        """Optuna's value of the dimension for a trial."""
        return cast(Value, trial.suggest_categorical(name, self.choices))

    def distribution(self) -> BaseDistribution:
        """The dimension as Optuna stores it."""
        return CategoricalDistribution(self.choices)

    def corners(self) -> Sequence[Value]:
        """The values that a run file must take: every choice."""
        return self.choices

    def contains(self, value: Value) -> bool:
        """Whether ``value`` is one of the dimension's."""
        return any(value == choice and type(value) is type(choice) for choice in self.choices)

    def __str__(self) -> str:
        return ", ".join(map(str, self.choices))


AnyDimension = Annotated[FloatDimension | IntDimension | CategoricalDimension, Field(discriminator="type")]


def _choices(given: Any) -> Any:
    return {"type": "categorical", "choices": given} if isinstance(given, list | tuple) else given


DimensionOrChoices = Annotated[
    AnyDimension, BeforeValidator(_choices, json_schema_input_type=AnyDimension | tuple[Value, ...])
]
"""a dimension as a file states it: a list is short for a categorical one"""


def _same(value: Value, wanted: Value) -> bool:
    """Whether two values are equal but for the rounding of steps."""
    if isinstance(value, float) and isinstance(wanted, (int, float)):
        return math.isclose(value, wanted, abs_tol=1e-9)
    return value == wanted
