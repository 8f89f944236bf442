"""Constraints: what violates one is stored and learnt from, and is never the best."""

from pathlib import Path
from typing import Any

import pytest

from support.drivers import driver
from support.results import result
from support.sweeps import space_file
from sweeper.execution.messages import EndedTrial, TrialsEnded
from sweeper.execution.packing import Packing
from sweeper.execution.restore import stored_trials
from sweeper.reporting.leaderboard import top
from sweeper.search.constraints import Constraint
from sweeper.search.outcome import Goals, Outcome
from sweeper.search.rehearsal import rehearse
from sweeper.search.space import Space
from sweeper.search.space_file import load_space
from sweeper.search.study import StoredTrial, Study
from sweeper.store.results import open_results
from sweeper.store.store import Store
from sweeper.store.sweep_file import check_unchanged
from trainer.errors import ConfigError

BOUNDS = [{"metric": "forgetting_pct", "at_most": 20, "at_least": 1}, {"metric": "device_s", "at_most": 8}]
NAMES = ["forgetting_pct <= 20", "forgetting_pct >= 1", "device_s <= 8"]


@pytest.mark.parametrize(
    ("forgetting", "device_s", "saved_s", "past"),
    [
        ((10.0, 20.0), (4.0, 6.0), 0.0, [-5.0, -14.0, -3.0]),
        ((30.0, 20.0), (4.0, 6.0), 0.0, [5.0, -24.0, -3.0]),
        ((10.0, 20.0), (0.0, 0.0), 9.0, [-5.0, -14.0, 1.0]),
    ],
    ids=["met", "too much is forgotten", "from the store it costs what it would have cost"],
)
def test_the_mean_over_the_runs_is_compared(
    forgetting: tuple[float, ...], device_s: tuple[float, ...], saved_s: float, past: list[float]
) -> None:
    goals = Goals("acc_task_mean_pct", [Constraint.model_validate(bound) for bound in BOUNDS])
    runs = [
        result(0, seed, forgetting_pct=lost, device_s=spent, saved_s=saved_s)
        for seed, (lost, spent) in enumerate(zip(forgetting, device_s, strict=True))
    ]
    outcome = goals.outcome_of(runs)
    assert dict(outcome.violations) == dict(zip(NAMES, past, strict=True))
    assert list(outcome.violated) == [name for name, far in zip(NAMES, past, strict=True) if far > 0]
    assert outcome.value is not None


def test_a_configuration_without_a_constrained_number_has_no_value() -> None:
    goals = Goals("acc_task_mean_pct", [Constraint(metric="ece_pct", at_most=5)])
    outcome = goals.outcome_of([result(0, 0, ece_pct=None)])
    assert (outcome.status, outcome.value, outcome.violated) == ("finished", None, {"ece_pct <= 5": float("inf")})


@pytest.mark.parametrize(
    ("constraint", "said"),
    [
        ({"metric": "forgeting_pct", "at_most": 3}, "constraints.0.metric: .*did you mean 'forgetting_pct'"),
        ({"metric": "status", "at_most": 3}, "constraints.0.metric: no column of runs with numbers"),
        ({"metric": "seed", "at_most": 3}, "constraints.0.metric: no column of runs with numbers"),
        ({"metric": "device_s"}, "at_most or at_least is required"),
        ({"metric": "device_s", "at_most": 3, "at_least": 5}, "nothing is at most 3 and at least 5"),
    ],
)
def test_a_wrong_constraint_is_refused(tmp_path: Path, constraint: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_space(space_file(tmp_path, constraints=[constraint]))


def test_two_of_one_metric_are_one(tmp_path: Path) -> None:
    both: list[dict[str, Any]] = [{"metric": "device_s", "at_most": 3}, {"metric": "device_s", "at_least": 1}]
    with pytest.raises(ConfigError, match="constraints must be of different metrics; one takes both"):
        load_space(space_file(tmp_path, constraints=both))
    load_space(space_file(tmp_path, constraints=[both[0] | both[1]]))


@pytest.mark.parametrize("sampler", ["TPESampler", "NSGAIISampler", "GPSampler", "RandomSampler"])
def test_samplers_take_them(tmp_path: Path, sampler: str) -> None:
    rehearse(load_space(space_file(tmp_path, constraints=BOUNDS, search={"sampler": sampler})))


def test_without_constraints_a_stored_sweep_is_what_it_was(tmp_path: Path) -> None:
    assert "constraints" not in load_space(space_file(tmp_path)).identity()
    assert load_space(space_file(tmp_path, constraints=BOUNDS)).identity()["constraints"][0]["at_most"] == 20


def play(space: Space, ended: dict[int, StoredTrial], upto: int, *, bounded: bool = True) -> dict[int, StoredTrial]:
    """Resume a sweep until ``upto`` have ended, in a study restored from the ``ended``."""
    study = Study(space)
    study.restore(ended, {})
    while len(ended) < upto and (found := study.ask()) is not None:
        alpha = found.params["method.alpha"]
        outcome = Outcome("finished", 50 - alpha, violations={"forgetting_pct <= 20": 1 - alpha} if bounded else {})
        study.tell(found.number, outcome)
        ended[found.number] = StoredTrial(found.params, outcome)
    return ended


@pytest.mark.parametrize("sampler", ["TPESampler", "NSGAIISampler"])
def test_a_resumed_search_goes_on_as_the_undisturbed_one_and_learns_from_violations(
    tmp_path: Path, sampler: str
) -> None:
    few = {"TPESampler": {"n_startup_trials": 4}, "NSGAIISampler": {"population_size": 4}}
    search = {"sampler": sampler, "options": few[sampler]}
    bounds = [{"metric": "forgetting_pct", "at_most": 20}]
    space = load_space(space_file(tmp_path, constraints=bounds, search=search, trials=24))
    whole = play(space, {}, 24)
    assert play(space, play(space, {}, 11), 24) == whole
    free = play(space, {}, 24, bounded=False)
    assert {n: t.params for n, t in whole.items()} != {n: t.params for n, t in free.items()}


def test_the_best_is_among_those_that_meet_them(tmp_path: Path) -> None:
    """In the study, after a resume, in SQL and in the last lines of a launch."""
    own = driver(tmp_path, packing=Packing(1), constraints=[{"metric": "forgetting_pct", "at_most": 20}], seeds=[0])
    for number, (accuracy, forgetting) in enumerate([(70.0, 10.0), (90.0, 30.0), (60.0, 20.0)]):
        assert own.pack(str(number)) == [number]
        runs = (result(number, 0, accuracy, forgetting_pct=forgetting),)
        ended = EndedTrial(number=number, results=runs)
        own.sweep.receive(str(number), TrialsEnded(pack="p", attempt="a", ended=(ended,), training=False))
    best = own.study.best()
    assert best is not None
    assert (best[0], best[2]) == (0, 70.0)
    assert "violates forgetting_pct <= 20" in own.said[1]
    resumed = Study(own.space)
    resumed.restore(stored_trials(Store(tmp_path, "s"), own.space.goals), {})
    assert resumed.best() == best
    results = open_results(tmp_path, "s")
    check_unchanged(own.space, own.store.folder, None, "images")
    assert [row["trial"] for row in results.sql("FROM best").rows()] == [0]
    rows = results.sql("SELECT feasible, violations['forgetting_pct <= 20'] AS far FROM seeds ORDER BY trial").rows()
    assert [(row["feasible"], row["far"]) for row in rows] == [(True, -10.0), (False, 10.0), (True, 0.0)]
    assert [row[0] for row in top(results, own.space.spec.objective)[1]] == ["0", "2"]
