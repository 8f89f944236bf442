"""What another pruner would have done, on sweeps small enough to see."""

from __future__ import annotations

import pytest

from sweeper.replay import Finished, _pruning, replay
from sweeper.search.samplers import Pruning
from trainer.errors import ConfigError

THRESHOLD = Pruning(pruner="ThresholdPruner", options={"lower": 50.0})


def sweep(*values: list[float]) -> list[Finished]:
    return [Finished(trial, value_T, [10.0, 20.0, 30.0]) for trial, value_T in enumerate(values)]


def test_what_is_pruned_saves_the_tasks_after() -> None:
    found = replay(sweep([60, 70, 80], [40, 90, 95], [60, 45, 99], [60, 61, 62]), THRESHOLD, maximize=True)
    assert found.pruned == {1: 1, 2: 2}
    assert (found.saved_s, found.spent_s) == (50 + 30, 4 * 60 - 80)
    assert found.winner == 2
    assert not found.kept_the_winner
    assert found.best_left == 0


def test_the_last_task_is_never_pruned() -> None:
    found = replay(sweep([60, 70, 10]), THRESHOLD, maximize=True)
    assert not found.pruned
    assert found.kept_the_winner


def test_least_is_best_where_the_objective_is_minimised() -> None:
    found = replay(
        sweep([5, 4, 3], [5, 4, 1], [60, 61, 70]),
        Pruning(pruner="ThresholdPruner", options={"upper": 50.0}),
        maximize=False,
    )
    assert found.winner == found.best_left == 1
    assert list(found.pruned) == [2]


def test_a_pruner_compares_with_the_configurations_before() -> None:
    halving = Pruning(pruner="SuccessiveHalvingPruner", options={"min_resource": 1, "reduction_factor": 2})
    rising = replay(sweep([1, 1, 1], [2, 2, 2], [3, 3, 3], [4, 4, 4]), halving, maximize=True)
    falling = replay(sweep([4, 4, 4], [3, 3, 3], [2, 2, 2], [1, 1, 1]), halving, maximize=True)
    assert len(falling.pruned) > len(rising.pruned)
    assert falling.kept_the_winner


def test_where_all_is_pruned_nothing_is_left() -> None:
    found = replay(sweep([1, 2, 3]), THRESHOLD, maximize=True)
    assert found.best_left is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MedianPrunr", "did you mean 'MedianPruner'"),
        ("MedianPruner:{n_startup_trials: -1}", "MedianPruner: "),
        ("MedianPruner:3", "'3' are no options"),
    ],
)
def test_a_bad_pruner_is_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _pruning(text)
