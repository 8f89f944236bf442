"""Importances of dimensions: the one that decides has the largest share, and the resamples say how sure that is."""

import random

import pytest

from sweeper.search.dimensions import AnyDimension, CategoricalDimension, FloatDimension
from sweeper.search.importance import LEAST, Importance, importances
from sweeper.search.space import Params

VARY: dict[str, AnyDimension] = {
    "a": FloatDimension(type="float", low=0.01, high=1.0, log=True),
    "b": FloatDimension(type="float", low=0.0, high=1.0),
    "c": CategoricalDimension(type="categorical", choices=("x", "y")),
}


def tried(count: int) -> list[tuple[Params, float]]:
    """Configurations whose objective is that of ``a`` alone."""
    draw = random.Random(0)
    params = [{"a": 10 ** draw.uniform(-2, 0), "b": draw.random(), "c": draw.choice("xy")} for _ in range(count)]
    return [(own, own["a"]) for own in params]


def by_measure(found: list[Importance]) -> dict[str, dict[str, Importance]]:
    measures = {one.measure: {} for one in found}
    for one in found:
        measures[one.measure][one.dimension] = one
    return measures


def test_the_dimension_that_decides_has_the_largest_share() -> None:
    found = by_measure(importances(tried(40), VARY, maximize=True))
    assert found.keys() == {"PED-ANOVA", "fANOVA"}
    for shares in found.values():
        assert max(shares, key=lambda name: shares[name].mean) == "a"
        assert sum(one.mean for one in shares.values()) == pytest.approx(1)
        assert all(0 <= one.low <= one.mean <= one.high <= 1 + 1e-9 for one in shares.values())
        assert any(one.low < one.high for one in shares.values())


def test_a_dimension_that_not_all_have_is_left_out() -> None:
    configurations = tried(12)
    del configurations[3][0]["c"]
    assert {one.dimension for one in importances(configurations, VARY, maximize=True)} == {"a", "b"}


def test_too_little_says_nothing() -> None:
    assert not importances(tried(LEAST - 1), VARY, maximize=True)
    assert not importances([(params, 1.0) for params, _ in tried(20)], VARY, maximize=True)
