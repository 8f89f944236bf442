"""What another pruner would have done, on sweeps small enough to check by eye."""

import math
from pathlib import Path

import pytest

from support.sweeps import space_file
from sweeper.replay import main
from sweeper.search.outcome import Outcome
from sweeper.search.samplers import PrunerConfig
from sweeper.search.simulation import CompletedTrial, simulate_pruner
from sweeper.search.space_file import load_space
from sweeper.search.study import Study
from trainer.errors import exit_code

THRESHOLD = PrunerConfig(pruner="ThresholdPruner", options={"lower": 50.0})


def sweep(*values: list[float]) -> list[CompletedTrial]:
    return [CompletedTrial(trial, value_T, [10.0, 20.0, 30.0]) for trial, value_T in enumerate(values)]


def test_what_is_pruned_saves_the_tasks_after() -> None:
    found = simulate_pruner(
        sweep([60, 70, 80], [40, 90, 95], [60, 45, 99], [60, 61, 62]), THRESHOLD, name="s", maximize=True
    )
    assert found.pruned == {1: 1, 2: 2}
    assert found.saved_s == 50 + 30
    assert found.winner == 2
    assert found.winner in found.pruned
    assert found.best_left == 0


def test_the_last_task_is_never_pruned() -> None:
    found = simulate_pruner(sweep([60, 70, 10]), THRESHOLD, name="s", maximize=True)
    assert not found.pruned
    assert found.best_left == found.winner


def test_least_is_best_where_the_objective_is_minimised() -> None:
    found = simulate_pruner(
        sweep([5, 4, 3], [5, 4, 1], [60, 61, 70]),
        PrunerConfig(pruner="ThresholdPruner", options={"upper": 50.0}),
        name="s",
        maximize=False,
    )
    assert found.winner == found.best_left == 1
    assert list(found.pruned) == [2]


def test_a_pruner_compares_with_the_configurations_before() -> None:
    halving = PrunerConfig(pruner="SuccessiveHalvingPruner", options={"min_resource": 1, "reduction_factor": 2})
    rising = simulate_pruner(sweep([1, 1, 1], [2, 2, 2], [3, 3, 3], [4, 4, 4]), halving, name="s", maximize=True)
    falling = simulate_pruner(sweep([4, 4, 4], [3, 3, 3], [2, 2, 2], [1, 1, 1]), halving, name="s", maximize=True)
    assert len(falling.pruned) > len(rising.pruned)
    assert falling.best_left == falling.winner


def test_where_all_is_pruned_nothing_is_left() -> None:
    found = simulate_pruner(sweep([1, 2, 3]), THRESHOLD, name="s", maximize=True)
    assert found.best_left is None


def test_hyperband_decides_alike_every_time_and_as_in_the_search(tmp_path: Path) -> None:
    """It assigns a trial to a bracket by the sweep's name and the trial's number."""
    options = {"min_resource": 1, "max_resource": 4, "reduction_factor": 2}
    hyperband = PrunerConfig(pruner="HyperbandPruner", options=options)
    trials = [CompletedTrial(2 * i, [90.0 - 3 * i, 91.0 - 3 * i, 92.0 - 3 * i], [1.0] * 3) for i in range(12)]
    found = [simulate_pruner(trials, hyperband, name="s", maximize=True).pruned for _ in range(2)]
    assert found[0] == found[1]
    study = Study(load_space(space_file(tmp_path, trials=24, pruning=hyperband.model_dump())))
    pruned = {}
    for number in range(24):
        study.ask()
        if number % 2:
            study.tell(number, Outcome("failed", None))
            continue
        value_T = trials[number // 2].value_T
        task = next((task for task in (1, 2) if study.report(number, task - 1, value_T[task - 1])), None)
        if task is not None:
            pruned[number] = task
        study.tell(number, Outcome("finished", value_T[-1]) if task is None else Outcome("pruned", None))
    assert found[0] == pruned
    assert 0 < len(pruned) < 12


def test_tasks_without_the_metric_are_passed_over() -> None:
    """As accuracy on few-shot classes is before there are any."""
    found = simulate_pruner([CompletedTrial(0, [math.nan, 40.0, 60.0], [1.0] * 3)], THRESHOLD, name="s", maximize=True)
    assert found.pruned == {0: 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MedianPrunr", "did you mean 'MedianPruner'"),
        ("MedianPruner:{n_startup_trials: -1}", "MedianPruner: "),
        ("MedianPruner:3", "'3' are not options"),
        ("MedianPruner:{1: 2}", "'{1: 2}' are not options"),
    ],
)
def test_a_bad_pruner_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str) -> None:
    assert exit_code(lambda: main(["s", "--results", str(tmp_path), "--pruning", text])) == 2
    line = capsys.readouterr().err
    assert message in line
    assert line.count("\n") == 1
