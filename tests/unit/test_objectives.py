"""Several objectives: the front in the study, after a resume, in the status and in SQL is the same."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from support.drivers import driver
from support.results import result
from support.sweeps import space_file
from sweeper import status
from sweeper.execution.messages import EndedTrial, TrialsEnded
from sweeper.execution.packing import Packing
from sweeper.execution.restore import stored_trials
from sweeper.reporting.page import sweep_content
from sweeper.reporting.state import SweepStatus
from sweeper.search.front import Front, FrontPoint
from sweeper.search.outcome import Outcome
from sweeper.search.rehearsal import rehearse
from sweeper.search.space import Objective, Space
from sweeper.search.space_file import load_space
from sweeper.search.study import StoredTrial, Study
from sweeper.store.results import open_results
from sweeper.store.store import Store
from sweeper.store.sweep_file import check_unchanged, read_space
from trainer.errors import ConfigError

TWO = [{"metric": "acc_task_mean_pct"}, {"metric": "forgetting_pct", "direction": "minimize"}]
BOUND = {"metric": "ece_pct", "at_most": 30}
FEW = {"TPESampler": {"n_startup_trials": 4}, "NSGAIISampler": {"population_size": 4}}


def points(values: Sequence[Sequence[float]]) -> list[FrontPoint]:
    return [FrontPoint(trial, {}, own) for trial, own in enumerate(values)]


def test_the_front_is_what_no_other_dominates() -> None:
    front = Front([Objective.model_validate(one) for one in TWO])
    given = points([(60, 20), (70, 30), (65, 30), (50, 10), (90, 5), (40, 40), (70, 30)])
    for point in given:
        front.add(point, feasible=point.trial != 4)
    assert [one.trial for one in front.points] == [0, 1, 3, 6]
    assert front.worst == [40, 40]
    assert front.hypervolume == (70 - 40) * (40 - 30) + (60 - 40) * (30 - 20) + (50 - 40) * (20 - 10)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"objectives": TWO, "objective": TWO[0]}, "objective and objectives are both given"),
        ({"objectives": [TWO[0], TWO[0]]}, "metrics must be different"),
        ({"objectives": [{"metric": "device_s"}, TWO[0]]}, "objectives.0.metric: unknown metric"),
        ({"objectives": [TWO[0], {"metric": "forgeting_pct"}]}, "objectives.1.metric: .*did you mean 'forgetting_pct'"),
        ({"objectives": [TWO[0], {**TWO[1], "per_class": 9}]}, "per_class is that of the first objective"),
        ({"objectives": TWO, "pruning": {"pruner": "MedianPruner"}}, "pruners take one objective, and there are 2"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_space(space_file(tmp_path, **fields))


@pytest.mark.parametrize("sampler", ["TPESampler", "NSGAIISampler", "NSGAIIISampler", "GPSampler", "RandomSampler"])
def test_samplers_take_several_objectives_and_constraints(tmp_path: Path, sampler: str) -> None:
    objectives = [*TWO, {"metric": "device_s", "direction": "minimize"}]
    rehearse(load_space(space_file(tmp_path, objectives=objectives, constraints=[BOUND], search={"sampler": sampler})))


def test_a_sampler_that_takes_one_objective_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("cmaes")
    with pytest.raises(ConfigError, match=r"search.sampler: CmaEsSampler: .*multi-objective"):
        rehearse(load_space(space_file(tmp_path, objectives=TWO, search={"sampler": "CmaEsSampler"})))


def test_one_objective_in_a_list_is_the_sweep_that_it_was(tmp_path: Path) -> None:
    one = load_space(space_file(tmp_path, objectives=TWO[:1])).identity()
    assert one == load_space(space_file(tmp_path)).identity()


def play(space: Space, ended: dict[int, StoredTrial], upto: int) -> tuple[dict[int, StoredTrial], Study]:
    """Resume a sweep until ``upto`` have ended, in a study restored from the ``ended``."""
    study = Study(space)
    study.restore(ended, {})
    while len(ended) < upto and (found := study.ask()) is not None:
        alpha = found.params["method.alpha"]
        others = {"forgetting_pct": (alpha - 5) ** 2}
        outcome = Outcome("finished", 50 - (alpha - 2) ** 2, (), others, {"ece_pct <= 30": alpha - 4.5})
        if found.number % 7 == 3:
            outcome = Outcome("failed", None)
        study.tell(found.number, outcome)
        ended[found.number] = StoredTrial(found.params, outcome)
    return ended, study


@pytest.mark.parametrize("sampler", FEW)
def test_a_resumed_search_is_the_undisturbed_one(tmp_path: Path, sampler: str) -> None:
    search = {"sampler": sampler, "options": FEW[sampler]}
    space = load_space(space_file(tmp_path, objectives=TWO, constraints=[BOUND], search=search, trials=24))
    whole, undisturbed = play(space, {}, 24)
    again, resumed = play(space, play(space, {}, 11)[0], 24)
    assert again == whole
    assert undisturbed.front is not None
    assert resumed.front is not None
    assert undisturbed.front.points == resumed.front.points
    assert undisturbed.front.hypervolume == resumed.front.hypervolume
    assert all(one.params["method.alpha"] <= 4.5 for one in resumed.front.points)


def test_the_stored_front_is_that_of_the_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = driver(tmp_path, packing=Packing(1), objectives=TWO, constraints=[BOUND], trials=20)
    check_unchanged(own.space, own.store.folder, None, "images")
    draws = random.Random(0)
    for number in range(20):
        assert own.pack(str(number)) == [number]
        runs = tuple(
            result(number, seed, draws.uniform(40, 60), forgetting_pct=draws.uniform(5, 30), ece_pct=2.0 * number)
            for seed in (0, 1)
        )
        ended = EndedTrial(number=number, results=runs)
        own.sweep.receive(str(number), TrialsEnded(pack="p", attempt="a", ended=(ended,), training=False))
    front = own.study.front
    assert front is not None
    assert len(front.points) > 2
    resumed = Study(own.space)
    resumed.restore(stored_trials(Store(tmp_path, "s"), own.space.goals), {})
    assert resumed.front is not None
    assert (resumed.front.points, resumed.front.worst) == (front.points, front.worst)
    rows = open_results(tmp_path, "s").sql("FROM front ORDER BY trial").rows()
    assert [(row["trial"], row["means"]) for row in rows] == [
        (one.trial, pytest.approx(list(one.values))) for one in front.points
    ]
    assert rows[0]["metrics"] == ["acc_task_mean_pct", "forgetting_pct"]
    assert all(std > 0 for row in rows for std in row["stds"])
    told = SweepStatus.of("s", own.store.folder)
    assert [one.trial for one in told.front] == [one.trial for one in front.points]
    assert told.hypervolume == front.hypervolume
    assert told.worst == dict(zip(rows[0]["metrics"], front.worst, strict=True))
    with open_results(tmp_path).snapshot() as snapshot:
        page = sweep_content(own.space, None, "running", snapshot)
    assert sorted(page["front"]["trials"]) == [one.trial for one in front.points]
    (further,) = page["front"]["further"]
    assert [further["value"][one.trial] for one in front.points] == [
        pytest.approx(one.values[1], abs=1e-3) for one in front.points
    ]
    assert read_space(own.store.folder).identity() == own.space.identity()
    status.main(["s", "--results", str(tmp_path)])
    said = capsys.readouterr().out
    assert f"front: {len(rows)} configurations; hypervolume" in said
    assert "forgetting_pct (minimize)" in said


def test_the_front_of_one_objective_is_the_best(tmp_path: Path) -> None:
    own = driver(tmp_path, packing=Packing(1), seeds=[0], trials=3)
    check_unchanged(own.space, own.store.folder, None, "images")
    for number, accuracy in enumerate((50.0, 70.0, 60.0)):
        own.store.finish_trial(number, [result(number, 0, accuracy)], attempt="a", objective=accuracy)
    (row,) = open_results(tmp_path, "s").sql("FROM front").rows()
    assert (row["trial"], row["means"], row["stds"]) == (1, [70.0], [None])
