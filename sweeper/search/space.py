"""What a search-space file states: a base run file, what varies and how to search it."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from sweeper.search.constraints import Constraint
from sweeper.search.dimensions import CategoricalDimension, DimensionOrChoices, Value, as_tuple
from sweeper.search.outcome import Goals
from sweeper.search.repetitions import Repetition, Repetitions, check_seeds
from sweeper.search.samplers import PrunerConfig, SamplerConfig
from sweeper.search.values import LARGEST, needed
from sweeper.search.words import METHOD
from trainer.config.files import override, parse_run
from trainer.config.run_config import RunConfig
from trainer.data.config import Evaluation
from trainer.data.world import World
from trainer.limits import Precision
from trainer.methods.base import METHODS, Method
from trainer.section import Section
from trainer.words import format_count

Params = dict[str, Any]
"""values of the dimensions that are active, by dotted field name"""


class Objective(Section):
    metric: str = Field("acc_task_mean_pct", description="a percentage that every task has")
    split: Literal["validation", "validation_from_train"] = Field(
        "validation",
        description="validation: the data set's own validation images, or images cut from the training images where "
        "it has none; validation_from_train: cut in any case. A search never sees the test images",
    )
    per_class: int = Field(
        25,
        ge=1,
        description=Evaluation.model_fields["per_class"].description,
    )
    tasks: int | None = Field(
        None,
        ge=1,
        description="tasks that a search trains and scores, the first ones; absent: all. A promotion judges all tasks",
    )
    direction: Literal["maximize", "minimize"] = "maximize"

    @property
    def measured_on(self) -> str:
        """The split and, where they are not all, the tasks."""
        first = "" if self.tasks is None else f", first {format_count(self.tasks, 'task')}"
        return f"{self.split.partition('_')[0]}{first}"


class Resources(Section):
    """The resources of one Ray trial, which trains a pack of configurations with all their seeds."""

    cpu: float = Field(1, gt=0)
    gpu: float = Field(0, ge=0)
    precision: Precision = Field(
        "auto", description="arithmetic of the networks; auto: bfloat16 on a GPU, float32 on a CPU"
    )
    pack: int | Literal["auto"] = Field(
        "auto", description="configurations trained together; auto: as many as save time and fit"
    )

    @property
    def threads(self) -> int:
        """CPU threads that a trial computes with."""
        return max(1, int(self.cpu))

    @model_validator(mode="after")
    def _whole_gpus(self) -> Self:
        if self.gpu > 1 and self.gpu != int(self.gpu):
            raise ValueError(f"gpu: {self.gpu}: more than one GPU must be a whole number")
        if self.pack != "auto" and self.pack < 1:
            raise ValueError("pack must be 1 or more, or auto")
        return self


class Budget(Section):
    device_hours: float | None = Field(None, gt=0, description="limit for all launches; past it no trial is started")
    wall_hours: float | None = Field(None, gt=0, description="limit for this launch; past it no trial is started")


class SearchSpace(Section):
    """The content of a search-space file."""

    base: str = Field(description="run file, relative to this file or to the working directory")
    set: dict[str, Any] = Field({}, description="overrides applied to the base run file")
    vary: dict[str, DimensionOrChoices] = Field(
        min_length=1, description="dimensions to search, by field of the run file"
    )
    first: Annotated[tuple[dict[str, Value], ...], as_tuple] = Field((), description="points to try first")
    seeds: Annotated[tuple[int, ...], as_tuple] = Field(
        (0,), min_length=1, description="seeds of every configuration; short for `repetitions: {seeds: [...]}`"
    )
    repetitions: Repetitions | None = Field(None, description="the runs of every configuration; absent: `seeds`")
    objective: Objective = Objective()
    objectives: Annotated[tuple[Objective, ...], as_tuple] = Field(
        (),
        description="several objectives, instead of `objective`; the first states the images and tasks, and decides "
        "where one has to",
    )
    constraints: Annotated[tuple[Constraint, ...], as_tuple] = Field(
        (), description="bounds that the best configuration must meet"
    )
    search: SamplerConfig = SamplerConfig()
    pruning: PrunerConfig | None = Field(None, description="absent: every configuration is trained to its end")
    trials: int = Field(ge=1, le=LARGEST, description="total number of configurations, finished ones included")
    concurrency: int | None = Field(
        None, ge=1, description="most Ray trials at a time; absent: what fits, also as a cluster grows"
    )
    resources: Resources = Resources()
    budget: Budget = Budget()
    retries: int = Field(2, ge=0, description="how often a trial that raises an error is retried from its checkpoint")
    fail_fast: int | None = Field(
        5, ge=1, description="first configurations that fail alike and stop the sweep, or null"
    )
    results: str | None = Field(None, description="folder or URI; absent: $CIL_RESULTS, or ./results")
    name: str | None = Field(None, description="absent: the file's name")
    notify: str | None = Field(
        None,
        description="module:function, or the URL of a webhook, that is told of finished and failed configurations and "
        "of each new best one",
    )

    @model_validator(mode="after")
    def _constraints_differ(self) -> Self:
        metrics = [one.metric for one in self.constraints]
        if len(set(metrics)) < len(metrics):
            raise ValueError("constraints must be of different metrics; one takes both at_most and at_least")
        return self

    @model_validator(mode="after")
    def _seeds_once(self) -> Self:
        check_seeds(self.seeds)
        if self.repetitions is not None and "seeds" in self.model_fields_set:
            raise ValueError("seeds and repetitions are both given: repetitions takes seeds as well")
        return self

    @model_validator(mode="after")
    def _objectives_once(self) -> Self:
        if not self.objectives:
            return self
        if "objective" in self.model_fields_set:
            raise ValueError("objective and objectives are both given: objectives takes one as well")
        if len({one.metric for one in self.objectives}) < len(self.objectives):
            raise ValueError("objectives: metrics must be different")
        for one in self.objectives[1:]:
            further = sorted(one.model_fields_set - {"metric", "direction"})
            if further:
                raise ValueError(f"objectives: {further[0]} is that of the first objective; the others state none")
        object.__setattr__(self, "objective", self.objectives[0])
        return self

    @property
    def wanted(self) -> tuple[Objective, ...]:
        """All objectives; the first is ``objective``."""
        return self.objectives or (self.objective,)

    @property
    def repeated(self) -> Repetitions:
        """The runs of every configuration."""
        return self.repetitions or Repetitions(seeds=self.seeds)


class Space:
    """A checked search space, with its base configuration."""

    def __init__(self, file: str, spec: SearchSpace, base: RunConfig) -> None:
        self.file, self.spec, self.base = file, spec, base

    @property
    def name(self) -> str:
        """Name of the sweep: the file's own, unless it states another."""
        return Path(self.file).stem if self.spec.name is None else self.spec.name

    @property
    def maximize(self) -> bool:
        """Whether more of the objective is better."""
        return self.spec.objective.direction == "maximize"

    @property
    def goals(self) -> Goals:
        """What the search wants of a configuration."""
        first, *others = (one.metric for one in self.spec.wanted)
        return Goals(first, self.spec.constraints, others)

    def configs(
        self,
        params: Mapping[str, Any],
        repetitions: Iterable[Repetition] | None = None,
        split: str | None = None,
        *,
        whole: bool = False,
    ) -> list[RunConfig]:
        """The base with these parameters, one configuration for each of the repetitions (default: the search's).

        A method that is not the base's has its own defaults. ``split``: images that it is measured on (default: the
        search's). ``whole``: with all tasks, if the search trains fewer. Raises ConfigError.
        """
        content = self.base.as_dict()
        split = split or self.spec.objective.split
        content["data"]["evaluation"]["split"] = split
        if split == self.spec.objective.split:
            content["data"]["evaluation"]["per_class"] = self.spec.objective.per_class
        if self.spec.objective.tasks is not None and not whole:
            content["protocol"]["stop_after"] = self.spec.objective.tasks
        override(content, params.items())
        config = parse_run({**content, "seed": 0}, file=self.file)
        wanted = self.spec.repeated.runs if repetitions is None else repetitions
        return [config.repetition(*one) for one in wanted]

    def config(self, params: Mapping[str, Any], split: str | None = None, *, whole: bool = False) -> RunConfig:
        """The same, once: with the class order and tail of the base, and the seed 0."""
        (config,) = self.configs(params, [Repetition(0)], split, whole=whole)
        return config

    def base_on_test(self, *, worlds: bool = False) -> RunConfig:
        """The base itself with all tasks, evaluated on the test split.

        With ``worlds``, in one of them, which share its config id.
        """
        config = self.config({}, "test", whole=True)
        return config.repetition(0, World.drawn(0)) if worlds else config

    def methods(self, dimension: str | None = None) -> tuple[str, ...]:
        """Names of the methods that it tries; with a dimension, of those that this one may be searched with."""
        vary, own = self.spec.vary, self.base.method.name
        if METHOD not in vary:
            return (own,)
        tried = tuple(map(str, vary[METHOD].corners()))
        wanted = {} if dimension is None else needed(vary, dimension)
        if METHOD in wanted:
            return tuple(method for method in tried if method in wanted[METHOD])
        return tried if own in tried or not vary[METHOD].when else (*tried, own)

    def shares_first_task(self) -> bool:
        """Whether every configuration trains the same first task."""
        return not self.acting_first()

    def reuses_first_tasks(self) -> bool:
        """Whether configurations share a first task where they agree on the choices that act in it.

        Not where members of one pack could disagree on them: the first task of a pack is trained in one piece.
        """
        acting = self.acting_first()
        choices = all(isinstance(self.spec.vary[name], CategoricalDimension) for name in acting)
        return choices and len(acting) < len(self.spec.vary) and not any(map(self._differs_in_a_pack, acting))

    def acting_first(self) -> list[str]:
        """The dimensions that act in the first task."""
        return [name for name in self.spec.vary if self._acts_first(name)]

    def is_per_member(self, dimension: str) -> bool:
        """Whether configurations of one method that differ in this dimension can be trained together."""
        field, methods = self._field(dimension)
        return bool(methods) and all(field in method.per_member_fields() for method in methods)

    def _acts_first(self, dimension: str) -> bool:
        field, methods = self._field(dimension)
        return not methods or any(field not in method.fields_from_task(1) for method in methods)

    def _differs_in_a_pack(self, dimension: str) -> bool:
        field, methods = self._field(dimension)
        return any(field in method.per_member_fields() for method in methods)

    def _field(self, dimension: str) -> tuple[str, list[type[Method]]]:
        """The field of the methods that a dimension is, and those methods; none if it is another section's."""
        section, _, field = dimension.partition(".")
        own = section == "method" and dimension != METHOD
        return field, [METHODS.find(name) for name in self.methods(dimension)] if own else []

    def identity(self) -> dict[str, Any]:
        """All that decides the trials and their results: a sweep is resumed only if this is unchanged."""
        free = {"base", "set", "trials", "concurrency", "resources", "budget", "retries", "results", "name", "notify"}
        spec = self.spec.model_dump(mode="json", exclude=free | {"fail_fast", "seeds", "repetitions"})
        if self.spec.objective.tasks is None:
            del spec["objective"]["tasks"]
        repeated = self.spec.repeated
        if repeated.worlds:
            spec["repetitions"] = repeated.model_dump(mode="json")
        else:
            spec["seeds"] = list(repeated.seeds)
        if len(self.spec.wanted) > 1:
            stated = [{"metric": one.metric, "direction": one.direction} for one in self.spec.wanted[1:]]
            spec["objectives"] = [spec.pop("objective"), *stated]
        else:
            del spec["objectives"]
        if not self.spec.constraints:
            del spec["constraints"]
        return {**spec, "base": self.base.identity()}


def flat(content: Any, prefix: str = "") -> dict[str, Any]:
    """The values of nested mappings by dotted name."""
    if isinstance(content, dict) and content:
        return {k: v for key, value in content.items() for k, v in flat(value, f"{prefix}{key}.").items()}
    return {prefix.rstrip("."): content}
