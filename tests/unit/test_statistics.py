"""Intervals computed by hand, and the decisions that they allow."""

import math

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
