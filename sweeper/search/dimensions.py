"""The dimensions of a search space: what values a field of the run file is given."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self, cast

from optuna.trial import Trial
from pydantic import BeforeValidator, Field, model_validator

from trainer.section import Section

Value = str | int | float | bool
as_tuple = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)


class Dimension(Section):
    """What every dimension has."""

    when: dict[str, Value | Annotated[tuple[Value, ...], as_tuple]] = Field(
        {}, description="search this dimension only where these earlier ones have this value, or one of these"
    )
    type: str

    def active(self, params: Mapping[str, Any]) -> bool:
        """Whether the dimension is searched, given the values of the earlier ones."""
        return all(
            name in params and params[name] in (allowed if isinstance(allowed, tuple) else (allowed,))
            for name, allowed in self.when.items()
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
            raise ValueError(f"low {self.low:g} must be below high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low {self.low:g} must be above 0 on a log scale")
        if self.log and self.step not in (None, 1):
            raise ValueError("log and step are mutually exclusive")
        return self

    def suggest(self, trial: Trial, name: str) -> Value:
        """Optuna's value of the dimension for a trial."""
        suggest: Any = trial.suggest_int if self.type == "int" else trial.suggest_float
        return suggest(name, self.low, self.high, log=self.log, step=self.step)

    def corners(self) -> Sequence[Value]:
        """The values that a run file must take: both bounds."""
        return self.low, self.high

    def contains(self, value: Value) -> bool:
        """Whether ``value`` is one of the dimension's."""
        return isinstance(value, (int, float)) and not isinstance(value, bool) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


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

    def suggest(self, trial: Trial, name: str) -> Value:
        """Optuna's value of the dimension for a trial."""
        return cast(Value, trial.suggest_categorical(name, self.choices))

    def corners(self) -> Sequence[Value]:
        """The values that a run file must take: every choice."""
        return self.choices

    def contains(self, value: Value) -> bool:
        """Whether ``value`` is one of the dimension's."""
        return any(value == choice and type(value) is type(choice) for choice in self.choices)

    def __str__(self) -> str:
        return ", ".join(map(str, self.choices))


AnyDimension = Annotated[FloatDimension | IntDimension | CategoricalDimension, Field(discriminator="type")]
