"""Search-space files: a base run file, what varies and how to search it. Checked before anything starts."""

import contextlib
import itertools
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from sweeper.search import samplers
from sweeper.search.dimensions import CategoricalDimension, DimensionOrChoices, Value, as_tuple
from sweeper.search.samplers import PrunerConfig, SamplerConfig
from sweeper.search.values import LARGEST, check_conditions, check_grid, check_points, check_steps, needed
from sweeper.search.words import METHOD
from sweeper.store.names import check_name
from trainer.command import words
from trainer.config.explain import explain
from trainer.config.files import load_run, load_yaml, override, parse_run, parse_sets, set_field, shipped
from trainer.config.run_config import RunConfig
from trainer.errors import ConfigError, Mistakes, nearest, shown
from trainer.methods.base import METHODS, Method
from trainer.results.columns import metrics
from trainer.section import Section

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
        description="validation images of each class that are cut before the tail is, at most: of a class with less "
        "than five times as many a fifth, one at least, none of one image",
    )
    direction: Literal["maximize", "minimize"] = "maximize"


class Resources(Section):
    """The resources of one Ray trial, which trains a pack of configurations with all their seeds."""

    cpu: float = Field(1, gt=0)
    gpu: float = Field(0, ge=0)
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
    seeds: Annotated[tuple[int, ...], as_tuple] = Field((0,), min_length=1, description="seeds of every configuration")
    objective: Objective = Objective()
    search: SamplerConfig = SamplerConfig()
    pruning: PrunerConfig | None = Field(None, description="absent: every configuration is trained to its end")
    trials: int = Field(ge=1, le=LARGEST, description="total number of configurations, finished ones included")
    concurrency: int | None = Field(None, ge=1, description="Ray trials at a time; absent: what fits")
    resources: Resources = Resources()
    budget: Budget = Budget()
    retries: int = Field(2, ge=0, description="how often a trial that raises an error is retried from its checkpoint")
    fail_fast: int | None = Field(
        5, ge=1, description="first configurations that fail alike and stop the sweep, or null"
    )
    results: str | None = Field(None, description="folder or URI; absent: $CIL_RESULTS, or ./results")
    name: str | None = Field(None, description="absent: the file's name")

    @model_validator(mode="after")
    def _seeds_differ(self) -> Self:
        if len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            raise ValueError("seeds must be different and not negative")
        return self


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

    def configs(
        self, params: Mapping[str, Any], seeds: Sequence[int] | None = None, split: str | None = None
    ) -> list[RunConfig]:
        """The base with these parameters, one configuration for each of the seeds (default: the search's).

        A method that is not the base's has its own defaults. ``split``: images that it is measured on (default: the
        search's). Raises ConfigError.
        """
        content = self.base.as_dict()
        split = split or self.spec.objective.split
        content["data"]["evaluation"]["split"] = split
        if split == self.spec.objective.split:
            content["data"]["evaluation"]["per_class"] = self.spec.objective.per_class
        override(content, params.items())
        seeds = self.spec.seeds if seeds is None else seeds
        return [parse_run({**content, "seed": seed}, file=self.file) for seed in seeds]

    def base_on_test(self) -> RunConfig:
        """The base itself, evaluated on the test split."""
        (config,) = self.configs({}, [0], "test")
        return config

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
        free = {"base", "set", "trials", "concurrency", "resources", "budget", "retries", "results", "name"}
        spec = self.spec.model_dump(mode="json", exclude=free | {"fail_fast"})
        return {**spec, "base": self.base.identity()}


def load_space(path: str | Path, sets: tuple[str, ...] = ()) -> Space:
    """Read and check a search-space file. ``sets`` override its own fields. Raises ConfigError, for all mistakes."""
    file = str(path)
    content = load_yaml(path, folder="search_spaces")
    if {"data", "method"} <= content.keys():
        command = shlex.join([*words("trainer.run"), file])
        raise ConfigError(f"is a run file, not a search space: {command} trains it", file=file)
    for dotted, value in parse_sets(sets):
        _override(content, dotted, value)
    try:
        spec = SearchSpace.model_validate(content)
    except ValidationError as error:
        wrong = Mistakes()
        with wrong.noted():
            raise explain(error, SearchSpace, file=file) from None
        with wrong.noted():
            _check_the_rest(content, error, file)
        raise wrong.together() from None
    return _checked(spec, file)


def _checked(spec: SearchSpace, file: str, *, whole: bool = True) -> Space:
    """The space of a file whose fields are of the right kinds. Raises ConfigError, for all mistakes.

    ``whole``: no field is left out, so that those which name others are checked as well.
    """
    wrong = Mistakes()
    with wrong.noted():
        check_name(Path(file).stem if spec.name is None else spec.name, file)
    with wrong.noted():
        _check_metric(spec.objective.metric, file)
    with wrong.noted():
        if spec.pruning is not None:
            samplers.check_pruning(spec.pruning, file)
    base = None
    with wrong.noted():
        base = _base(spec, file)
    if base is None:  # all below needs it
        raise wrong.together()
    space, dimensions = Space(file, spec, base), Mistakes()
    with dimensions.noted():
        _check_dimensions(space)
    right = whole and not dimensions
    with wrong.noted():
        dimensions.report()
        if right:
            check_points(spec.vary, spec.first, file)
            for point in spec.first:
                space.configs(point)
    with wrong.noted():
        if right:
            check_grid(spec.vary, spec.search.options.get("search_space"), spec.trials, file)
        if right or "search_space" not in spec.search.options:  # to make one that is wrong may take all memory
            samplers.check_search(spec.search, file)
    wrong.report()
    return space


def _check_dimensions(space: Space) -> None:
    wrong = Mistakes()
    check_conditions(space.spec.vary, space.file)
    with wrong.noted():
        if METHOD in space.spec.vary:
            _check_dimension(space, METHOD)
    hidden = "method." if wrong else METHOD  # fields of methods that there are not
    for name in space.spec.vary:
        with wrong.noted():
            if not name.startswith(hidden):
                _check_dimension(space, name)
    wrong.report()


def _check_the_rest(content: dict[str, Any], error: ValidationError, file: str) -> None:
    """Check what is right in a file of which these fields are wrong. Raises ConfigError."""
    broken = {finding["loc"][: 1 + (finding["loc"][0] == "vary")] for finding in error.errors() if finding["loc"]}
    rest = {name: value for name, value in content.items() if (name,) not in broken}
    hidden = "method." if ("vary", METHOD) in broken else "\0"
    vary = {
        name: value
        for name, value in rest.get("vary", {}).items()
        # Without the dimensions that it depends on, one with a condition cannot be checked.
        if ("vary", name) not in broken and not name.startswith(hidden) and "when" not in value
    }
    stand_in = {"vary": vary or {"seed": {"type": "int", "low": 0, "high": 1}}}
    with contextlib.suppress(ValidationError):  # `base` is missing, without which nothing can be checked
        spec = SearchSpace.model_validate({"trials": 1, **rest, **stand_in})
        _checked(spec if vary else spec.model_copy(update={"vary": {}}), file, whole=False)


def _check_metric(metric: str, file: str) -> None:
    if metric not in metrics():
        problem = f"unknown metric {metric!r}"
        raise ConfigError.unknown(problem, metric, metrics(), file=file, field="objective.metric")


def _override(content: dict[str, Any], dotted: str, value: Any) -> None:
    """Set a field of a search-space file: one of a dimension, whose name has dots, or of the run file, by ``set``."""
    section, _, field = dotted.partition(".")
    if section in RunConfig.model_fields and section != "seed":
        section, field = "set", dotted
    named = content.setdefault(section, {}) if field and section in ("set", "vary") else None
    if not isinstance(named, dict):
        set_field(content, dotted, value)
        return
    dimension = max((name for name in named if field.startswith(f"{name}.")), key=len, default=None)
    if section == "vary" and dimension is not None and isinstance(named[dimension], dict):
        set_field(named[dimension], field.removeprefix(f"{dimension}."), value)
    else:
        named[field] = value


def _base(spec: SearchSpace, file: str) -> RunConfig:
    sibling = Path(file).parent / spec.base
    found = sibling if sibling.exists() else shipped(Path(spec.base))
    if not found.exists():
        close = nearest(found.name, [run.name for run in found.parent.glob("*.yaml")])
        raise ConfigError(f"no such run file: {spec.base}", file=file, field="base", nearest=close)
    sets = [f"{name}={yaml.safe_dump(value, default_flow_style=True)}" for name, value in spec.set.items()]
    try:
        return load_run(found, sets).config
    except ConfigError as error:
        raise ConfigError.together(
            [ConfigError(f"{'set' if one.field in spec.set else 'base'}: {one}", file=file) for one in error.mistakes]
        ) from None


def _check_dimension(space: Space, name: str) -> None:
    """It is a field of the run file that takes both bounds of a range, or every choice, with each method that it may be
    searched with.
    """
    dimension, field = space.spec.vary[name], f"vary.{name}"
    _check_field(space, name, field)
    check_steps(dimension, space.file, field)
    methods = space.methods(name) if name.startswith("method.") and name != METHOD else (space.base.method.name,)
    for value, method in itertools.product(dimension.corners(), methods):
        try:
            space.configs({METHOD: method, name: value})
        except ConfigError as error:
            problem = error.problem if shown(value) in error.problem else f"{shown(value)}: {error.problem}"
            raise ConfigError(
                f"with {method}: {problem}" if len(methods) > 1 else problem,
                file=space.file,
                field=field,
                allowed=error.allowed,
                nearest=error.nearest,
            ) from None


def _check_field(space: Space, name: str, field: str) -> None:
    instead = {"seed": "use `seeds`"}.get(name)
    if name.startswith("data.evaluation"):
        instead = "use `objective`"
    if instead:
        raise ConfigError(f"cannot be searched; {instead}", file=space.file, field=field)
    section, _, last = name.rpartition(".")
    if section == "method" and name != METHOD:
        _check_method_field(space, name, field)
        return
    known = flat(space.base.as_dict())
    if name in flat(space.base.identity()):
        return
    if name in known:
        problem = (
            f"cannot be searched, as it does not name a run: launch a sweep for each value, with set: {{{name}: ...}}"
        )
        raise ConfigError(problem, file=space.file, field=field)
    siblings = [other.rpartition(".")[2] for other in known if other.rpartition(".")[0] == section]
    problem = f"no such field of {section or 'a run file'}"
    if siblings:
        raise ConfigError.unknown(problem, last, siblings, file=space.file, field=field)
    raise ConfigError(problem, file=space.file, field=field, nearest=nearest(name, known))


def _check_method_field(space: Space, name: str, field: str) -> None:
    """The dimension is a field of each method that it may be searched with."""
    last, dimension = name.rpartition(".")[2], space.spec.vary[name]
    names = {method: METHODS.find(method).field_names() for method in space.methods()}
    tried, having = space.methods(name), [method for method, known in names.items() if last in known]
    lacking = [method for method in tried if method not in having]
    if not lacking:
        return
    if not having:
        known = dict.fromkeys(itertools.chain.from_iterable(names[method] for method in tried))
        problem = f"no such field of {_listed(tried, 'or')}"
        others = [method for method in METHODS.names() if last in METHODS.find(method).field_names()]
        if others:
            problem += f", only of {_listed(others, 'and')}"
        raise ConfigError.unknown(problem, last, known, file=space.file, field=field)
    wanted = [method for method in having if method in tried] or having
    when = {**dimension.model_dump(mode="json")["when"], METHOD: wanted if len(wanted) > 1 else wanted[0]}
    write = yaml.safe_dump(when, default_flow_style=True, sort_keys=False, width=10_000).strip()
    problem = f"is a field of {_listed(having, 'and')}, not of {_listed(lacking, 'or')}; write `when: {write}`"
    raise ConfigError(problem, file=space.file, field=field)


def _listed(names: Sequence[str], word: str) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *first, last = names
    return f"{', '.join(first)} {word} {last}" if first else last


def flat(content: Any, prefix: str = "") -> dict[str, Any]:
    """The values of nested mappings by dotted name."""
    if isinstance(content, dict) and content:
        return {k: v for key, value in content.items() for k, v in flat(value, f"{prefix}{key}.").items()}
    return {prefix.rstrip("."): content}
