"""The study: what is asked depends on what is stored, not on when the driver died."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sweeper.search.space import Params, Space, load_space
from sweeper.search.study import Asked, Past, Search

FAILS = 3
ROOT = Path(__file__).parent.parent.parent


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


def play(space: Space, upto: int, asked: list[Asked], past: list[Past], at_once: int = 1) -> None:
    """Run a sweep from its stored rows until ``upto`` configurations have ended; rows are added to the lists."""
    search = Search(space)
    search.replay(asked, past)
    running: list[Asked] = []
    while len(past) < upto:
        while len(running) < at_once and (new := search.ask()) is not None:
            running.append(new)
            if new not in asked:
                asked.append(new)
        done = running.pop(0)
        steps = {0: value_of(done.params) - 1, 1: value_of(done.params)}
        for task, value in steps.items():
            search.report(done.number, task, value)
        status = "failed" if done.number == FAILS else "finished"
        value = value_of(done.params) if status == "finished" else None
        search.tell(done.number, status, value)
        past.append(Past(done.number, done.params, value, status, steps))


@pytest.mark.parametrize(
    ("sampler", "at_once"),
    [("TPESampler", 1), ("RandomSampler", 1), ("RandomSampler", 3), ("QMCSampler", 1)],
)
def test_killed_anywhere_the_same_configurations_are_tried(tmp_path: Path, sampler: str, at_once: int) -> None:
    space = space_of(tmp_path, sampler)
    whole: tuple[list[Asked], list[Past]] = ([], [])
    play(space, 24, *whole, at_once)
    for killed_after in (1, 7, 15):
        asked: list[Asked] = []
        past: list[Past] = []
        play(space, killed_after, asked, past, at_once)
        play(space, 24, asked, past, at_once)
        assert {a.number: a.params for a in asked} == {a.number: a.params for a in whole[0]}
        assert sorted(p.number for p in past) == list(range(24))


def test_first_points_come_first_and_trials_are_a_total(tmp_path: Path) -> None:
    search = Search(space_of(tmp_path, "RandomSampler", trials=3))
    asked = [search.ask() for _ in range(4)]
    assert asked[0] == Asked(0, {"method.kd": "dakd", "method.alpha": 1.0, "method.lambda": 0.7})
    assert [a and a.number for a in asked] == [0, 1, 2, None]


def test_an_inactive_dimension_is_not_asked(tmp_path: Path) -> None:
    search = Search(space_of(tmp_path, "RandomSampler"))
    asked = [a for a in (search.ask() for _ in range(24)) if a is not None]
    without = [a for a in asked if a.params["method.kd"] == "none"]
    assert without
    assert all("method.lambda" not in a.params for a in without)
    assert all("method.lambda" in a.params for a in asked if a not in without)


def test_grid_is_covered_once(tmp_path: Path) -> None:
    grid = {"search_space": {"method.kd": ["dakd", "none"], "method.alpha": [0.1, 1.0, 10.0]}}
    vary = {
        "method.kd": {"type": "categorical", "choices": ["dakd", "none"]},
        "method.alpha": {"type": "float", "low": 0.05, "high": 10.0},
    }
    search_fields = {"sampler": "GridSampler", "seed": 3, "options": grid}
    space = space_of(tmp_path, "RandomSampler", trials=6, vary=vary, first=[], search=search_fields)
    asked: list[Asked] = []
    past: list[Past] = []
    play(space, 4, asked, past)
    play(space, 6, asked, past)
    assert [p.status for p in past].count("finished") == 5  # the last point of the grid is told as well
    assert len({(a.params["method.kd"], a.params["method.alpha"]) for a in asked}) == 6


def test_pruning_compares_equal_task_with_equal_task(tmp_path: Path) -> None:
    pruning = {"pruner": "MedianPruner", "options": {"n_startup_trials": 2, "n_warmup_steps": 0}}
    space = space_of(tmp_path, "RandomSampler", pruning=pruning)
    search = Search(space)
    asked = [a for a in (search.ask() for _ in range(4)) if a is not None]
    for good in asked[:2]:
        assert not search.report(good.number, 0, 50.0)
        assert not search.report(good.number, 1, 40.0)
        search.tell(good.number, "finished", 40.0)
    assert not search.report(asked[2].number, 0, 51.0)
    assert search.report(asked[3].number, 0, 10.0)
    # 45 is below what others had after the first task, but above what they had after this one.
    assert not search.report(asked[2].number, 1, 45.0)


def test_a_pruner_remembers_past_trials_after_a_replay(tmp_path: Path) -> None:
    pruning = {"pruner": "SuccessiveHalvingPruner", "options": {"min_resource": 1, "reduction_factor": 2}}
    space = space_of(tmp_path, "RandomSampler", pruning=pruning)
    answers = []
    for replayed in (False, True):
        search = Search(space)
        asked = [a for a in (search.ask() for _ in range(4)) if a is not None]
        past = []
        for number, value in ((0, 90.0), (1, 80.0)):
            search.report(number, 0, value)
            search.tell(number, "finished", value)
            past.append(Past(number, asked[number].params, value, "finished", {0: value}))
        if replayed:
            search = Search(space)
            search.replay(asked, past)
        answers.append([search.report(2, 0, 10.0), search.report(3, 0, 95.0)])
    assert answers[0] == answers[1] == [True, False]


def test_no_best_before_one_is_finished(tmp_path: Path) -> None:
    search = Search(space_of(tmp_path, "RandomSampler"))
    first = search.ask()
    assert first is not None
    assert search.best() is None
    search.tell(first.number, "diverged", None)
    assert search.best() is None


@pytest.mark.parametrize(("direction", "best"), [("maximize", 1), ("minimize", 0)])
def test_of_equal_ones_the_first_asked_is_best_in_whatever_order_they_end(
    tmp_path: Path, direction: str, best: int
) -> None:
    search = Search(space_of(tmp_path, "RandomSampler", objective={"direction": direction}))
    asked = [a for a in (search.ask() for _ in range(4)) if a is not None]
    for number, value in ((3, 50.0), (2, 60.0), (1, 60.0), (0, 50.0)):
        search.tell(number, "finished", value)
    assert search.best() == (best, asked[best].params, 60.0 if direction == "maximize" else 50.0)
