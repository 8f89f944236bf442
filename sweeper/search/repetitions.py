"""What a configuration is repeated over: seeds alone, or worlds with seeds in each."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, NamedTuple, Self

from pydantic import BeforeValidator, Field, model_validator

from sweeper.search.dimensions import as_tuple
from trainer.data.world import World, number_or_world
from trainer.section import Section
from trainer.words import format_count

MOST_WORLDS = 1000
AnyWorld = Annotated[World, BeforeValidator(number_or_world, json_schema_input_type=int | World)]


def _listed(value: Any) -> Any:
    """As many worlds as a whole number says, drawn from 0, 1, ..."""
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 < value <= MOST_WORLDS:
            raise ValueError(f"{value} is not a number of worlds; allowed: 1 to {MOST_WORLDS}, or a list")
        return tuple(range(value))
    return tuple(value) if isinstance(value, list) else value


def check_seeds(seeds: Sequence[int]) -> None:
    """Raises ValueError for seeds that are equal or negative."""
    if len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise ValueError("seeds must be different and not negative")


class Repetitions(Section):
    """The runs of every configuration. A world is a class order and a draw of the tail; without worlds, both are those
    of the base.
    """

    worlds: Annotated[
        tuple[AnyWorld, ...], BeforeValidator(_listed, json_schema_input_type=int | tuple[AnyWorld, ...])
    ] = Field(
        (),
        description="how many worlds, drawn from 0, 1, ...; or a list of them, each a number that its class order and "
        "tail are drawn from, or {class_order: ..., tail: ...}",
    )
    seeds: Annotated[tuple[int, ...], as_tuple] = Field(
        (0,), min_length=1, description="seeds of every configuration, in each of the worlds"
    )

    @model_validator(mode="after")
    def _differ(self) -> Self:
        check_seeds(self.seeds)
        if len(set(map(str, self.worlds))) != len(self.worlds):
            raise ValueError("worlds must be different")
        return self

    @property
    def runs(self) -> list["Repetition"]:
        """The runs, world by world."""
        return [Repetition(seed, world) for world in self.worlds or (None,) for seed in self.seeds]

    @property
    def of_first_world(self) -> list["Repetition"]:
        """The runs of the first world, which can be members of one pass; without worlds, all."""
        return self.runs[: len(self.seeds)]

    @property
    def of_each_world(self) -> list["Repetition"]:
        """The first run of each world; without worlds, the first of all."""
        return self.runs[:: len(self.seeds)]

    @property
    def in_a_unit(self) -> int:
        """Runs that are one observation: those of a world; one where repetitions are seeds alone."""
        return len(self.seeds) if self.worlds else 1

    def __str__(self) -> str:
        return in_words(len(self.worlds), len(self.seeds))


def in_words(worlds: int, seeds: int) -> str:
    """``3 seeds``, ``5 worlds`` or ``5 worlds x 2 seeds``; ``worlds``: 0 where repetitions are seeds alone."""
    each = format_count(seeds, "seed")
    if not worlds:
        return each
    return format_count(worlds, "world") + (f" x {each}" if seeds > 1 else "")


class Repetition(NamedTuple):
    """One run of a configuration."""

    seed: int
    world: World | None = None
    """None: the class order and tail are those of the base"""


def of_seeds(seeds: Iterable[int]) -> list[Repetition]:
    """A run for each seed, without worlds."""
    return [Repetition(seed) for seed in seeds]
