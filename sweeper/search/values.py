"""The values that a search-space file names in ``when``, ``first`` and a grid: its dimensions can have them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sweeper.search.dimensions import AnyDimension, FloatDimension, Range, Value
from trainer.errors import ConfigError, Mistakes, nearest, shown

LARGEST = 1_000_000
"""configurations of a search"""

Dimensions = Mapping[str, AnyDimension]


def check_steps(dimension: AnyDimension, file: str, field: str) -> None:
    """Raises ConfigError if the steps of a range miss its upper bound."""
    if isinstance(dimension, Range) and dimension.step and not dimension.contains(dimension.high):
        low, high, step = dimension.low, dimension.high, dimension.step
        last = low + (high - low) // step * step
        problem = f"steps of {shown(step)} from {shown(low)} do not reach high {shown(high)}"
        raise ConfigError(problem, file=file, field=field, allowed=f"high {last:.12g} or {last + step:.12g}")


def needed(vary: Dimensions, name: str) -> dict[str, set[Value]]:
    """The values of other dimensions with which one is searched, by their names: what its ``when`` and theirs state."""
    found: dict[str, set[Value]] = {}
    for parent, values in vary[name].conditions():
        for ancestor, wanted in {**needed(vary, parent), parent: set(values)}.items():
            found[ancestor] = found.get(ancestor, wanted) & wanted
    return found


def check_conditions(vary: Dimensions, file: str) -> None:
    """Raises ConfigError for a ``when`` that is never met: by no value of a parent, or not by all parents together."""
    earlier: list[str] = []
    wrong = Mistakes()
    for name in vary:
        with wrong.noted():
            _check_when(vary, name, earlier, file)
        earlier.append(name)
    wrong.report()


def _check_when(vary: Dimensions, name: str, earlier: Sequence[str], file: str) -> None:
    field = f"vary.{name}.when"
    for parent, values in vary[name].conditions():
        if parent in vary and parent not in earlier and parent != name:
            raise ConfigError(f"{parent!r} is defined after it; write {parent} first", file=file, field=field)
        if parent not in earlier:
            problem = f"{parent!r} is not a dimension defined earlier"
            if not earlier:
                raise ConfigError(problem, file=file, field=field, allowed="none")
            raise ConfigError.unknown(problem, parent, earlier, file=file, field=field)
        for value in values:
            _check_condition(vary[parent], value, file, f"{field}.{parent}")
    for ancestor, wanted in needed(vary, name).items():
        if not wanted:
            raise ConfigError(f"is never met, because of {ancestor}", file=file, field=field)


def _check_condition(parent: AnyDimension, value: Value, file: str, field: str) -> None:
    if not parent.contains(value):
        close = nearest(value, map(str, parent.corners()))
        problem = f"{shown(value)} is never its value"
        raise ConfigError(problem, file=file, field=field, allowed=str(parent), nearest=close)
    if isinstance(parent, FloatDimension) and parent.step is None:
        problem = f"{shown(value)} is never exactly its value, which may be any number"
        raise ConfigError(problem, file=file, field=field, allowed="a dimension with choices, or a range with a step")


def check_points(vary: Dimensions, points: Sequence[Mapping[str, Value]], file: str) -> None:
    """Raises ConfigError for a point of ``first`` with a value that is not a dimension's, or would not be searched."""
    wrong = Mistakes()
    for index, point in enumerate(points):
        field = f"first[{index}]"
        for name, value in point.items():
            with wrong.noted():
                _check_value(vary, name, value, file, field)
                if not vary[name].active(point):
                    needed = ", ".join(f"{own}: {' or '.join(map(str, of))}" for own, of in vary[name].conditions())
                    problem = f"is searched only with {needed}, which the point does not give"
                    raise ConfigError(problem, file=file, field=f"{field}.{name}")
    wrong.report()


def check_grid(vary: Dimensions, grid: Any, trials: int, file: str) -> None:
    """Raises ConfigError for a GridSampler's ``search_space`` that lacks a dimension, or has fewer points than trials,
    or values that are not a dimension's.
    """
    field = "search.options.search_space"
    if not isinstance(grid, dict):  # another sampler, or one that refuses it
        return
    for name, values in grid.items():
        if not isinstance(values, list):
            raise ConfigError(f"{shown(values)} is not a list", file=file, field=f"{field}.{name}")
        for value in values:
            _check_value(vary, name, value, file, field)
    for name in vary:
        if name not in grid:
            raise ConfigError(f"{name!r} has no values", file=file, field=field, allowed="values of each dimension")
    points = math.prod(map(len, grid.values()))
    if points > LARGEST:  # Optuna makes a list of them
        raise ConfigError("has more than a million points", file=file, field=field)
    if trials > points:
        raise ConfigError(f"the grid has only {points} points", file=file, field="trials", allowed=f"up to {points}")


def _check_value(vary: Dimensions, name: str, value: Value, file: str, field: str) -> None:
    if name not in vary:
        raise ConfigError.unknown(f"{shown(name)} is not a dimension", name, vary, file=file, field=field)
    if not vary[name].contains(value):
        problem, allowed = f"{shown(value)} lies outside the dimension", str(vary[name])
        raise ConfigError(problem, file=file, field=f"{field}.{name}", allowed=allowed)
