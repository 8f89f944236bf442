"""The study: what it suggests depends on what is stored, not on when the driver died."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from sweeper.search.outcome import Outcome
from sweeper.search.space import Params, Space
from sweeper.search.space_file import load_space
from sweeper.search.study import StoredTrial, Study, Suggestion

FAILS = 3
ROOT = Path(__file__).parent.parent.parent
DIVERGED = Outcome("diverged", None)
HALVING = {"pruner": "SuccessiveHalvingPruner", "options": {"min_resource": 1, "reduction_factor": 2}}


def space_of(tmp_path: Path, sampler: str, trials: int = 24, **fields: Any) -> Space:
    content = {
        "base": str(ROOT / "runs" / "digits_lfs5.yaml"),
        "vary": {
            "method.kd": {"type": "categorical", "choices": ["dakd", "none"]},
            "method.alpha": {"type": "float", "low": 0.05, "high": 10.0, "log": True},
            "method.lambda": {"type": "float", "low": 0.05, "high": 5.0, "when": {"method.kd": "dakd"}},
        },
        "first": [{"method.kd": "dakd", "method.alpha": 1.0, "method.lambda": 0.7}],
        "search": {"sampler": sampler, "seed": 3},
        "trials": trials,
    } | fields
    file = tmp_path / f"{sampler}.yaml"
    file.write_text(yaml.safe_dump(content))
    return load_space(file)


def value_of(params: Params) -> float:
    return -abs(params["method.alpha"] - 2) - params.get("method.lambda", 3.0)


def finished(value: float) -> Outcome:
    return Outcome("finished", value)


def suggested(study: Study, n: int) -> list[Suggestion]:
    """The next ``n`` suggestions."""
    found = [study.ask() for _ in range(n)]
    assert None not in found
    return [suggestion for suggestion in found if suggestion is not None]


class Stored:
    """What a store holds of a sweep: trials that have ended, and the parameters of all that were suggested."""

    def __init__(self) -> None:
        self.trials: dict[int, StoredTrial] = {}
        self.suggested: dict[int, Params] = {}

    def play(self, space: Space, upto: int, at_once: int = 1) -> None:
        """Launch the sweep, until ``upto`` trials have ended."""
        study = Study(space)
        study.restore(self.trials, {n: p for n, p in self.suggested.items() if n not in self.trials})
        running: list[Suggestion] = []
        while len(self.trials) < upto:
            while len(running) < at_once and (new := study.ask()) is not None:
                running.append(new)
                assert self.suggested.setdefault(new.number, new.params) == new.params
            done = running.pop(0)
            value = value_of(done.params)
            outcome = Outcome("failed", None) if done.number == FAILS else finished(value)
            steps = {}
            for task, step in enumerate((value - 1, value)):
                steps[task] = step
                if study.report(done.number, task, step) and task == 0:
                    outcome = Outcome("pruned", None)
                    break
            study.tell(done.number, outcome)
            self.trials[done.number] = StoredTrial(done.params, outcome, steps)


@pytest.mark.parametrize(
    ("sampler", "at_once"),
    [("TPESampler", 1), ("RandomSampler", 1), ("RandomSampler", 3), ("QMCSampler", 1), ("QMCSampler", 3)],
)
@pytest.mark.parametrize("pruning", [None, HALVING], ids=["no pruner", "a pruner"])
def test_killed_anywhere_the_same_configurations_are_suggested(
    tmp_path: Path, sampler: str, at_once: int, pruning: dict[str, Any] | None
) -> None:
    """With one trial at a time they also come to the same, whether a pruner looks on or not."""
    space = space_of(tmp_path, sampler, pruning=pruning)
    whole = Stored()
    whole.play(space, 24, at_once)
    for killed_after in (1, 7, 15):
        stored = Stored()
        stored.play(space, killed_after, at_once)
        stored.play(space, 24, at_once)
        assert stored.suggested == whole.suggested
        assert stored.trials.keys() == whole.trials.keys() == set(range(24))
        if at_once == 1:
            assert stored.trials == whole.trials


@pytest.mark.parametrize(("sampler", "options"), [("NSGAIISampler", {"population_size": 4}), ("QMCSampler", {})])
def test_points_that_were_given_do_not_count_as_the_samplers_own(
    tmp_path: Path, sampler: str, options: dict[str, Any]
) -> None:
    points = [{"method.kd": "none", "method.alpha": alpha} for alpha in (0.5, 1.0, 2.0)]
    search = {"sampler": sampler, "seed": 3, "options": options}
    space = space_of(tmp_path, "TPESampler", first=points, search=search)
    whole = Stored()
    whole.play(space, 16)
    for killed_after in (2, 9):
        stored = Stored()
        stored.play(space, killed_after)
        stored.play(space, 16)
        assert stored.trials == whole.trials


def test_first_points_come_first_and_trials_are_a_total(tmp_path: Path) -> None:
    study = Study(space_of(tmp_path, "RandomSampler", trials=3))
    found = [study.ask() for _ in range(4)]
    assert found[0] is not None
    assert found[0].params == {"method.kd": "dakd", "method.alpha": 1.0, "method.lambda": 0.7}
    assert [suggestion and suggestion.number for suggestion in found] == [0, 1, 2, None]


def test_a_suggestion_has_a_configuration_for_each_seed(tmp_path: Path) -> None:
    (first,) = suggested(Study(space_of(tmp_path, "RandomSampler", seeds=[4, 5])), 1)
    assert [config.seed for config in first.configs] == [4, 5]
    assert {config.method.model_dump(by_alias=True)["lambda"] for config in first.configs} == {0.7}


def test_an_inactive_dimension_is_not_suggested(tmp_path: Path) -> None:
    found = [suggestion.params for suggestion in suggested(Study(space_of(tmp_path, "RandomSampler")), 24)]
    without = [params for params in found if params["method.kd"] == "none"]
    assert without
    assert all("method.lambda" not in params for params in without)
    assert all("method.lambda" in params for params in found if params not in without)


@pytest.mark.parametrize("sampler", ["GridSampler", "optuna.samplers.GridSampler"])
def test_a_grid_is_covered_once(tmp_path: Path, sampler: str) -> None:
    grid = {"search_space": {"method.kd": ["dakd", "none"], "method.alpha": [0.1, 1.0, 10.0]}}
    vary = {
        "method.kd": {"type": "categorical", "choices": ["dakd", "none"]},
        "method.alpha": {"type": "float", "low": 0.05, "high": 10.0},
    }
    search = {"sampler": sampler, "seed": 3, "options": grid}
    space = space_of(tmp_path, "RandomSampler", trials=6, vary=vary, first=[], search=search)
    stored = Stored()
    stored.play(space, 4)
    stored.play(space, 6)
    states = [trial.outcome.status for trial in stored.trials.values()]
    assert states.count("finished") == 5  # the last point of the grid is told as well
    assert len({(p["method.kd"], p["method.alpha"]) for p in stored.suggested.values()}) == 6


def test_pruning_compares_equal_task_with_equal_task(tmp_path: Path) -> None:
    pruning = {"pruner": "MedianPruner", "options": {"n_startup_trials": 2, "n_warmup_steps": 0}}
    study = Study(space_of(tmp_path, "RandomSampler", pruning=pruning))
    suggested(study, 4)
    for good in (0, 1):
        assert not study.report(good, 0, 50.0)
        assert not study.report(good, 1, 40.0)
        study.tell(good, finished(40.0))
    assert not study.report(2, 0, 51.0)
    assert study.report(3, 0, 10.0)
    # 45 is below what the first two had after the first task, but above what they had after this one.
    assert not study.report(2, 1, 45.0)


def decisions(space: Space, *, restored: bool) -> list[bool]:
    """Whether trials 8 to 15 are pruned after their first task, where 0 to 7 have ended with 90, 89, ..."""
    study = Study(space)
    params = [suggestion.params for suggestion in suggested(study, 16)]
    stored = {}
    for number in range(8):
        study.report(number, 0, 90.0 - number)
        study.tell(number, finished(90.0 - number))
        stored[number] = StoredTrial(params[number], finished(90.0 - number), {0: 90.0 - number})
    if restored:
        study = Study(space)
        study.restore(stored, {number: params[number] for number in range(8, 16)})
    return [study.report(number, 0, 30.0 + 5 * number) for number in range(8, 16)]


@pytest.mark.parametrize(
    "pruning",
    [
        HALVING,
        {"pruner": "HyperbandPruner", "options": {"min_resource": 1, "max_resource": 4, "reduction_factor": 2}},
    ],
    ids=lambda pruning: pruning["pruner"],
)
def test_a_restored_study_prunes_as_the_first_one(tmp_path: Path, pruning: dict[str, Any]) -> None:
    space = space_of(tmp_path, "RandomSampler", pruning=pruning)
    first = decisions(space, restored=False)
    assert set(first) == {True, False}
    assert decisions(space, restored=False) == first
    assert decisions(space, restored=True) == first


def test_no_best_before_one_is_finished(tmp_path: Path) -> None:
    study = Study(space_of(tmp_path, "RandomSampler"))
    suggested(study, 1)
    assert study.best() is None
    study.tell(0, DIVERGED)
    assert study.best() is None


@pytest.mark.parametrize(("direction", "best"), [("maximize", 1), ("minimize", 0)])
def test_of_equal_trials_the_first_is_best_in_whatever_order_they_end(
    tmp_path: Path, direction: str, best: int
) -> None:
    study = Study(space_of(tmp_path, "RandomSampler", objective={"direction": direction}))
    params = [suggestion.params for suggestion in suggested(study, 4)]
    for number, value in ((3, 50.0), (2, 60.0), (1, 60.0), (0, 50.0)):
        study.tell(number, finished(value))
    assert study.best() == (best, params[best], 60.0 if direction == "maximize" else 50.0)


def test_nothing_finished_is_overwritten_where_numbers_are_missing(tmp_path: Path) -> None:
    """A number of which nothing is known is suggested anew, and the next one is the largest known plus one."""
    space = space_of(tmp_path, "RandomSampler")
    whole = Stored()
    whole.play(space, 6)
    study = Study(space)
    study.restore({number: trial for number, trial in whole.trials.items() if number != 2}, {})
    assert [suggestion.number for suggestion in suggested(study, 2)] == [2, 6]


def test_a_sweep_that_has_been_made_smaller_trains_nothing_past_its_end(tmp_path: Path) -> None:
    stored = Stored()
    stored.play(space_of(tmp_path, "RandomSampler"), 2, at_once=3)
    study = Study(space_of(tmp_path, "RandomSampler", trials=3))
    study.restore(stored.trials, {n: p for n, p in stored.suggested.items() if n not in stored.trials})
    assert [suggestion.number for suggestion in suggested(study, 1)] == [2]
    assert study.ask() is None


@pytest.mark.parametrize(
    ("ended", "left"), [((0, 4), [1]), ((4, 5), [0]), ((0, 1, 5), []), ((0, 1, 2, 3), []), ((), [0, 1, 2])]
)
def test_no_more_configurations_than_trials_whichever_have_ended(
    tmp_path: Path, ended: tuple[int, ...], left: list[int]
) -> None:
    stored = Stored()
    stored.play(space_of(tmp_path, "RandomSampler"), 6)
    study = Study(space_of(tmp_path, "RandomSampler", trials=3))
    study.restore(
        {number: stored.trials[number] for number in ended},
        {number: params for number, params in stored.suggested.items() if number not in ended},
    )
    assert (study.peek() is None) == (not left)
    assert [suggestion.number for suggestion in suggested(study, len(left))] == left
    assert study.ask() is None
