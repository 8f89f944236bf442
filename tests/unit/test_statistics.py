"""Intervals computed by hand, and the decisions that they allow."""

import math

import numpy as np
import pytest

from sweeper.promotion.statistics import Interval, decide


def test_interval_by_hand() -> None:
    # mean 3, standard deviation 1, t(0.975, 2) = 4.302653, over sqrt(3)
    found = Interval.of([2.0, 3.0, 4.0])
    assert found.mean == 3
    assert found.high - found.mean == pytest.approx(4.302653 / math.sqrt(3), abs=1e-6)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)


def test_pairing_takes_what_seeds_share_out() -> None:
    first, second = [10.0, 50.0, 90.0], [9.0, 49.1, 88.9]
    assert Interval.paired(first, second).low > 0
    assert Interval.of(first).low < Interval.of(second).high


def test_a_world_is_one_observation() -> None:
    # Two worlds of two seeds: means of the differences 1 and 3, standard deviation sqrt(2), t(0.975, 1) = 12.706205.
    found = Interval.paired([11.0, 13.0, 23.0, 25.0], [10.0, 12.0, 21.0, 21.0], seeds=2)
    assert (found.mean, found.high - found.mean) == (2.0, pytest.approx(12.706205, abs=1e-5))
    assert Interval.paired([11.0, 13.0, 23.0, 25.0], [10.0, 12.0, 21.0, 21.0]).low > found.low


@pytest.mark.parametrize("shape", ["normal", "skewed", "heavy tails"])
def test_a_file_that_is_no_better_is_promoted_in_at_most_one_try_of_twenty(shape: str) -> None:
    """Two files of equal merit: worlds favour one or the other by chance, more than seeds do."""
    generator, tries, worlds, seeds = np.random.default_rng(0), 200, 5, 3
    draws = {
        "normal": generator.standard_normal,
        "skewed": lambda size: generator.exponential(1, size) - 1,
        "heavy tails": lambda size: generator.standard_t(3, size),
    }

    def promoted(unit: int) -> float:
        found = 0
        for _ in range(tries):
            shared = np.repeat(generator.normal(0, 5, worlds), seeds)  # an easy world is easy for both
            favour = np.repeat(draws[shape](worlds), seeds)
            first, second = (70 + shared + generator.normal(0, 0.5, worlds * seeds) for _ in range(2))
            difference = Interval.paired((first + favour).tolist(), second.tolist(), seeds=unit)
            found += decide(difference, maximize=True, incumbent="the same").promoted
        return found / tries

    assert promoted(seeds) <= 0.05
    assert shape != "normal" or promoted(1) > 0.08, "runs of one world are not so many observations"


def test_one_value_proves_nothing() -> None:
    assert not decide(Interval.of([5.0]), maximize=True, incumbent="x").promoted


@pytest.mark.parametrize(
    ("interval", "maximize", "promoted"),
    [
        (Interval(2, 1, 3), True, True),
        (Interval(2, -1, 5), True, False),
        (Interval(-2, -3, -1), True, False),
        (Interval(-2, -3, -1), False, True),
        (Interval(0, 0, 0), True, False),
        (Interval(1, 0, 2), True, False),
    ],
)
def test_only_an_interval_on_the_right_side_promotes(interval: Interval, maximize: bool, promoted: bool) -> None:
    decision = decide(interval, maximize=maximize, incumbent="the incumbent")
    assert decision.promoted is promoted
    assert "the incumbent" in decision.reason
