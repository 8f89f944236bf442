"""A configuration that somebody adds to a running search: its values are checked as a file's points are."""

from collections.abc import Mapping

from sweeper.search.dimensions import FloatDimension, IntDimension, Value
from sweeper.search.samplers import covers_a_grid
from sweeper.search.space import Params, Space
from sweeper.search.values import LARGEST, check_grid, check_points
from trainer.errors import ConfigError


def added(space: Space, given: Mapping[str, Value]) -> Params:
    """The values of a configuration to add, as the sampler would state them: floats for a dimension of floats.

    Raises ConfigError for a name that is no dimension, a value that is not one of its dimension's, or a value that the
    run file does not take; and where the sampler's design has no place for it.
    """
    if covers_a_grid(space.spec.search):
        problem = f"{space.spec.search.sampler} covers its grid point by point, and a configuration more would take the"
        raise ConfigError(f"{problem} place of a point", field="search.sampler")
    try:
        check_points(space.spec.vary, [dict(given)], space.file)
        params = {name: _as_dimension(space, name, value) for name, value in given.items()}
        space.configs(params)
    except ConfigError as error:
        for mistake in error.mistakes:
            mistake.file, mistake.field = None, (mistake.field or "").removeprefix("first[0]").removeprefix(".") or None
        raise ConfigError.together(error.mistakes) from None
    return params


def _as_dimension(space: Space, name: str, value: Value) -> Value:
    match space.spec.vary[name]:
        case FloatDimension():
            return float(value)
        case IntDimension():
            return int(value)
        case _:
            return value


def check_total(space: Space, total: int, least: int) -> None:
    """Raises ConfigError for a total of configurations below ``least``, which have ended or are in training, or above
    what a search, or its grid, can have.
    """
    if not least <= total <= LARGEST:
        problem = f"{total} configurations: {least} have ended or are in training"
        raise ConfigError(problem, field="trials", allowed=f"{least} to {LARGEST}")
    check_grid(space.spec.vary, space.spec.search.options.get("search_space"), total, space.file)
