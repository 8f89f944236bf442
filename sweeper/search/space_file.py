"""Read a search-space file and check all of it before anything starts: ``load_space``."""

import contextlib
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from pydantic import ValidationError

from sweeper.search import samplers
from sweeper.search.constraints import COST
from sweeper.search.space import SearchSpace, Space, flat
from sweeper.search.values import check_conditions, check_grid, check_points, check_steps
from sweeper.search.words import METHOD
from sweeper.store import schema
from sweeper.store.names import check_name
from trainer.config.explain import explain
from trainer.config.files import images_beside, load_run, parse_sets, set_field
from trainer.config.run_config import RunConfig
from trainer.config.yaml_file import as_yaml, shipped, space_content
from trainer.errors import ConfigError, Mistakes, nearest, shown
from trainer.methods.base import METHODS
from trainer.results.columns import metrics
from trainer.results.rows import RunResult
from trainer.words import format_count


def load_space(path: str | Path, sets: tuple[str, ...] = ()) -> Space:
    """Read and check a search-space file. ``sets`` override its own fields. Raises ConfigError, for all mistakes."""
    file = str(path)
    content = space_content(path)
    if isinstance(content.get("set"), dict):
        images_beside(content["set"], path)
    for dotted, value in parse_sets(sets):
        if isinstance(content.get("vary"), dict) and dotted in content["vary"]:
            problem = f"is searched, so that no configuration would have this value; change vary.{dotted}, or the file"
            raise ConfigError(problem, field=f"--set {dotted}")
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
    for place, objective in enumerate(spec.wanted):
        with wrong.noted():
            field = f"objectives.{place}.metric" if spec.objectives else "objective.metric"
            _check_metric(objective.metric, file, field, [*metrics(), *([COST] if place else [])])
    for place, constraint in enumerate(spec.constraints):
        with wrong.noted():
            _check_column(constraint.metric, file, f"constraints.{place}.metric")
    with wrong.noted():
        if spec.pruning is not None:
            samplers.check_pruning(spec.pruning, file)
            if len(spec.wanted) > 1:
                problem = f"pruners take one objective, and there are {len(spec.wanted)}; leave it out"
                raise ConfigError(problem, file=file, field="pruning")
    base = None
    with wrong.noted():
        base = _base(spec, file)
    if base is None:  # all below needs it
        raise wrong.together()
    with wrong.noted():
        _check_tasks(spec, base, file)
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
        if isinstance(name, str)
        and ("vary", name) not in broken
        and not name.startswith(hidden)
        and "when" not in value
    }
    stand_in = {"vary": vary or {"seed": {"type": "int", "low": 0, "high": 1}}}
    with contextlib.suppress(ValidationError):  # `base` is missing, without which nothing can be checked
        spec = SearchSpace.model_validate({"trials": 1, **rest, **stand_in})
        _checked(spec if vary else spec.model_copy(update={"vary": {}}), file, whole=False)


def _check_metric(metric: str, file: str, field: str, known: Sequence[str]) -> None:
    if metric not in known:
        raise ConfigError.unknown(f"unknown metric {metric!r}", metric, known, file=file, field=field)


def _check_tasks(spec: SearchSpace, base: RunConfig, file: str) -> None:
    tasks, protocol = spec.objective.tasks, base.protocol
    every = protocol.tasks + (protocol.kind == "lfh")
    if tasks is not None and tasks > every and "protocol.tasks" not in spec.vary:
        problem = f"the base has only {format_count(every, 'task')}"
        raise ConfigError(problem, file=file, field="objective.tasks", allowed=f"1 to {every}")


def _check_column(name: str, file: str, field: str) -> None:
    """It holds a number of each run."""
    numbers = [column.name for column in schema.file_columns() if column.type in (pa.int64(), pa.float64())]
    measured = [column for column in numbers if column in RunResult.model_fields and column != "seed"]
    if name not in numbers or name in ("seed", *schema.StoredColumns.model_fields):
        raise ConfigError.unknown(f"no column of runs with numbers is {name!r}", name, measured, file=file, field=field)


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
    sibling = shipped(Path(file)).parent / spec.base
    found = sibling if sibling.exists() else shipped(Path(spec.base))
    if not found.exists():
        close = nearest(found.name, [run.name for run in found.parent.glob("*.yaml")])
        raise ConfigError(f"no such run file: {spec.base}", file=file, field="base", nearest=close)
    sets = [f"{name}={as_yaml(value)}" for name, value in spec.set.items()]
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
    if name == "protocol.stop_after":
        instead = "use `objective.tasks`"
    if name.partition(".")[0] == "world":
        instead = "use `repetitions`"
    if space.spec.repeated.worlds and (name == "data.imbalance.seed" or name.startswith("protocol.class_order")):
        instead = "it is drawn anew in each world of `repetitions`"
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
