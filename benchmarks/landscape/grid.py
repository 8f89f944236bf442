"""The grid of configurations of each system on one data set, as a YAML file states it."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import Field, ValidationError

from benchmarks.landscape.table import SPLITS
from sweeper.search.dimensions import FloatDimension
from sweeper.search.repetitions import AnyWorld, Repetition
from sweeper.search.space import Params, SearchSpace, Space
from trainer.config.explain import explain
from trainer.config.files import load_run, override, parse_run
from trainer.config.run_config import RunConfig
from trainer.config.yaml_file import load_yaml
from trainer.data.world import World
from trainer.errors import ConfigError
from trainer.section import Section

HERE = Path(__file__).parent


class Levels(FloatDimension):
    """A range of real numbers, and how many of them are in the grid: in even steps, on a log scale where it has one."""

    levels: int = Field(ge=2)

    @property
    def values(self) -> list[float]:
        """The levels, from the lowest."""
        space = np.geomspace if self.log else np.linspace
        return [float(f"{value:.6g}") for value in space(self.low, self.high, self.levels)]


class Content(Section):
    """A grid file."""

    base: str = Field(description="run file, relative to the grid file")
    worlds: Annotated[list[AnyWorld], Field(min_length=1)]
    seeds: Annotated[list[int], Field(min_length=1)]
    systems: dict[str, dict[str, Levels]] = Field(description="the levels of each field, by method")


class Slice(NamedTuple):
    """Runs of all points of one system that only differ in the point."""

    system: str
    split: str
    world: World
    seed: int


@dataclass(frozen=True)
class Grid:
    """All configurations of one data set."""

    name: str
    content: Content
    base: RunConfig

    @classmethod
    def load(cls, name: str) -> "Grid":
        """The grid of ``benchmarks/landscape/NAME.yaml``. Raises ConfigError."""
        file = HERE / f"{name}.yaml"
        if not file.exists():
            known = sorted(path.stem for path in HERE.glob("*.yaml"))
            raise ConfigError.unknown(f"no grid is called {name!r}", name, known)
        try:
            content = Content.model_validate(load_yaml(file))
        except ValidationError as error:
            raise explain(error, Content, file=str(file)) from None
        return cls(name, content, load_run(file.parent / content.base).config)

    def points(self, system: str) -> list[Params]:
        """Every combination of levels; a point's number is its place."""
        levels = self.content.systems[system]
        combined = itertools.product(*(one.values for one in levels.values()))
        return [dict(zip(levels, values, strict=True)) for values in combined]

    def slices(self) -> Iterator[Slice]:
        """In the order in which a table grows: each world is of use without the later ones."""
        content = self.content
        for world, system, seed, split in itertools.product(content.worlds, content.systems, content.seeds, SPLITS):
            yield Slice(system, split, world, seed)

    def space(self, system: str, **settings: Any) -> Space:
        """A search space over the grid's ranges; ``settings``: other fields of a search-space file, ``trials`` too."""
        base = self.base.as_dict()
        override(base, [("method.name", system)])
        vary = {field: one.model_dump(exclude={"levels"}) for field, one in self.content.systems[system].items()}
        content = {"base": self.content.base, "vary": vary, "name": system, **settings}
        file = f"{self.name}.yaml"
        return Space(file, SearchSpace.model_validate(content), parse_run(base, file=file))

    def configs(self, one: Slice) -> list[RunConfig]:
        """The runs of a slice, point by point."""
        space, repetition = self.space(one.system, trials=1), Repetition(one.seed, one.world)
        return [space.configs(point, [repetition], one.split)[0] for point in self.points(one.system)]

    def levels(self) -> Mapping[str, Any]:
        """What a table states of its systems, as ``table.Dimension`` takes it."""
        return {
            system: {
                field: {"low": one.low, "high": one.high, "log": one.log, "values": one.values}
                for field, one in levels.items()
            }
            for system, levels in self.content.systems.items()
        }
