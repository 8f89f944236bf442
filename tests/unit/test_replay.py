"""What another pruner would have done, on sweeps small enough to check by eye."""

from pathlib import Path

import pytest

from sweeper.replay import main
from sweeper.search.samplers import PrunerConfig
from sweeper.search.simulation import CompletedTrial, simulate_pruner
from trainer.errors import exit_code

THRESHOLD = PrunerConfig(pruner="ThresholdPruner", options={"lower": 50.0})


def sweep(*values: list[float]) -> list[CompletedTrial]:
    return [CompletedTrial(trial, value_T, [10.0, 20.0, 30.0]) for trial, value_T in enumerate(values)]


def test_what_is_pruned_saves_the_tasks_after() -> None:
    found = simulate_pruner(sweep([60, 70, 80], [40, 90, 95], [60, 45, 99], [60, 61, 62]), THRESHOLD, maximize=True)
    assert found.pruned == {1: 1, 2: 2}
    assert found.saved_s == 50 + 30
    assert found.winner == 2
    assert found.winner in found.pruned
    assert found.best_left == 0


def test_the_last_task_is_never_pruned() -> None:
    found = simulate_pruner(sweep([60, 70, 10]), THRESHOLD, maximize=True)
    assert not found.pruned
    assert found.best_left == found.winner


def test_least_is_best_where_the_objective_is_minimised() -> None:
    found = simulate_pruner(
        sweep([5, 4, 3], [5, 4, 1], [60, 61, 70]),
        PrunerConfig(pruner="ThresholdPruner", options={"upper": 50.0}),
        maximize=False,
    )
    assert found.winner == found.best_left == 1
    assert list(found.pruned) == [2]


def test_a_pruner_compares_with_the_configurations_before() -> None:
    halving = PrunerConfig(pruner="SuccessiveHalvingPruner", options={"min_resource": 1, "reduction_factor": 2})
    rising = simulate_pruner(sweep([1, 1, 1], [2, 2, 2], [3, 3, 3], [4, 4, 4]), halving, maximize=True)
    falling = simulate_pruner(sweep([4, 4, 4], [3, 3, 3], [2, 2, 2], [1, 1, 1]), halving, maximize=True)
    assert len(falling.pruned) > len(rising.pruned)
    assert falling.best_left == falling.winner


def test_where_all_is_pruned_nothing_is_left() -> None:
    found = simulate_pruner(sweep([1, 2, 3]), THRESHOLD, maximize=True)
    assert found.best_left is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MedianPrunr", "did you mean 'MedianPruner'"),
        ("MedianPruner:{n_startup_trials: -1}", "MedianPruner: "),
        ("MedianPruner:3", "'3' are not options"),
    ],
)
def test_a_bad_pruner_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str) -> None:
    assert exit_code(lambda: main(["s", "--results", str(tmp_path), "--pruning", text])) == 2
    line = capsys.readouterr().err
    assert message in line
    assert line.count("\n") == 1
