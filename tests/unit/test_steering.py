"""A hand on a running sweep: what is asked is followed once, by a driver that is killed at any moment too."""

import itertools
import json
import shutil
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from support.kills import dies_at
from support.results import result
from support.sweeps import space_file
from sweeper.execution import plan
from sweeper.execution.job import Job, pack_of_trial
from sweeper.execution.launch import Launch
from sweeper.execution.messages import EndedTrial, TaskDone, TrialsEnded
from sweeper.execution.packing import Packing
from sweeper.execution.sweep import WAIT, Sweep
from sweeper.search.space import Space
from sweeper.search.space_file import load_space
from sweeper.store.damage import Damage
from sweeper.store.results import open_results
from sweeper.store.steering import Request, read_steering, submit
from sweeper.store.stopped_file import read_stopped
from sweeper.store.store import Store
from trainer.data.tasks import TaskStream

METRIC = "acc_task_mean_pct"
RESUME = "cil steer s resume"


@cache
def images(file: str) -> TaskStream:
    return plan.load_benchmark(load_space(file))


@cache
def space_in(folder: Path, changes: str) -> Space:
    sampler = {"sampler": "TPESampler", "seed": 1, "options": {"n_startup_trials": 2}}
    return load_space(space_file(folder, **{"search": sampler, "seeds": [0], "trials": 4, **json.loads(changes)}))


@dataclass
class Driver:
    """A launch up to where Ray begins: tests train for it."""

    launch: Launch
    sweep: Sweep
    said: list[str]
    turn: int = 0

    @classmethod
    def start(cls, folder: Path, **changes: Any) -> "Driver":
        space, said = space_in(folder, json.dumps(changes)), list[str]()
        store = Store(folder / "results", "s")
        store.tidy()
        launch = Launch(space, store, images(space.file), said.append, RESUME)
        job = Job(str(folder / "results" / "s"), space.spec.resources, METRIC)
        sweep = Sweep(launch.study, job, store, launch.progress, packing=Packing(1), paused=launch.steering.paused)
        return cls(launch, sweep, said)

    @property
    def store(self) -> Store:
        return self.launch.store

    def ask(self, action: str, **what: Any) -> None:
        """Make a request, and take it as the driver does once it has found it."""
        submit(self.store.folder, Request(action, "ada@host", **what))  # type: ignore[arg-type]
        self.take()

    def take(self) -> None:
        again = type(self.launch.steering)(self.launch.space, self.store, RESUME)  # finds what waits, at once
        again.take(self.launch.study, self.launch.progress)
        self.launch.steering.state = again.state

    def train(self) -> int | None:
        """Train the next configuration; one that was stopped ends after its first task. Returns its number."""
        self.turn += 1
        trial_id = f"t{self.turn}"
        trial = self.sweep.next_trial(trial_id)
        if not isinstance(trial, dict):
            assert trial in (WAIT, False)
            return None
        (number,) = pack_of_trial(trial)
        self.end(trial_id, number)
        return number

    def end(self, trial_id: str, number: int) -> None:
        stopped = number in read_stopped(self.store.folder, Damage())
        for task in range(1 if stopped else 2):
            self.sweep.receive(trial_id, TaskDone(pack="p", task=task, tasks=2, values={number: 50.0 + number}))
        runs = [result(number, 0, None if stopped else 50.0 + number % 3, status="pruned" if stopped else "finished")]
        ended = (EndedTrial(number=number, results=tuple(runs)),)
        self.sweep.receive(trial_id, TrialsEnded(pack="p", attempt="a", ended=ended, training=False))


def outcome(folder: Path) -> list[tuple[int, str, str]]:
    rows = Store(folder / "results", "s").read(["trial", "params_json", "status"]).to_pylist()
    return sorted((row["trial"], row["params_json"], row["status"]) for row in rows)


def steered(folder: Path, *, killed: bool, **changes: Any) -> list[tuple[int, str, str]]:
    """A sweep that is steered in every way; where ``killed``, with a new driver before each step."""
    own = Driver.start(folder, **changes)

    def step() -> Driver:
        return Driver.start(folder, **changes) if killed else own

    step().train()
    step().ask("add", params={"method.lambda": 0.3})
    step().train()
    own = step()
    trial = own.sweep.next_trial("stopped")
    assert isinstance(trial, dict)
    (number,) = pack_of_trial(trial)
    own.ask("stop", number=number)
    if killed:
        assert Driver.start(folder, **changes).train() == number
    else:
        own.end("stopped", number)
    step().ask("trials", number=7)
    step().ask("pause")
    assert step().train() is None
    step().ask("resume")
    while step().train() is not None:
        pass
    return outcome(folder)


@pytest.mark.parametrize("first", [[], [{"method.alpha": 1.0, "method.lambda": 0.7}, {"method.alpha": 2.0}]])
def test_a_killed_and_steered_sweep_equals_an_undisturbed_and_steered_one(tmp_path: Path, first: list[Any]) -> None:
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole = steered(tmp_path / "whole", killed=False, first=first)
    assert [number for number, _, _ in whole] == list(range(7))
    assert [status for _, _, status in whole].count("pruned") == 1
    added = [number for number, params, _ in whole if json.loads(params)["method.lambda"] == 0.3]
    assert added == [max(1, len(first))], "behind the points that the file states"
    assert [json.loads(params)["method.alpha"] for _, params, _ in whole[: len(first)]] == [1.0, 2.0][: len(first)]
    assert steered(tmp_path / "killed", killed=True, first=first) == whole


@pytest.mark.parametrize(
    ("action", "what"),
    [("add", {"params": {"method.lambda": 0.3}}), ("stop", {"number": 1}), ("trials", {"number": 6}), ("pause", {})],
)
def test_a_driver_that_dies_at_any_operation_follows_a_request_once(
    tmp_path: Path, action: str, what: dict[str, Any]
) -> None:
    own = Driver.start(tmp_path)
    own.train()
    own.sweep.next_trial("1")
    submit(own.store.folder, Request(action, "ada@host", **what))  # type: ignore[arg-type]
    saved = shutil.copytree(tmp_path / "results", tmp_path / "saved")
    state: list[Any] = []
    for operation in itertools.count(1):
        died = dies_at(operation, own.take)
        after = Driver.start(tmp_path).launch
        stopped = read_stopped(after.store.folder, Damage())
        state.append((after.steering.state, after.study.trials, after.study.next_number, stopped))
        (entry,) = read_steering(after.store.folder, Damage())
        assert entry.taken is not None, "by the driver that died, or by the next"
        if not died:
            break
        shutil.rmtree(tmp_path / "results")
        shutil.copytree(saved, tmp_path / "results")
    assert operation > 3
    assert all(one == state[0] for one in state)


def test_requests_wait_for_a_driver_and_are_found_by_one_that_runs(tmp_path: Path) -> None:
    own = Driver.start(tmp_path)
    submit(own.store.folder, Request("trials", "ada@host", number=5))
    with own.launch.steering.watched():
        for _ in range(100):
            own.launch.steering.take(own.launch.study, own.launch.progress)
            if own.said:
                break
            time.sleep(0.05)
    assert own.said == ["steering 0 by ada@host: 5 configurations instead of 4"]
    submit(own.store.folder, Request("trials", "ada@host", number=6))
    assert own.launch.steering.late() == 1
    assert Driver.start(tmp_path).launch.study.trials == 6
    assert Driver.start(tmp_path, trials=3).launch.study.trials == 3, "a changed file prevails"


def test_a_paused_sweep_hands_out_nothing_and_says_how_to_resume(tmp_path: Path) -> None:
    own = Driver.start(tmp_path)
    own.train()
    trial = own.sweep.next_trial("running")
    own.ask("pause")
    assert own.said[-1].endswith(f"paused: no trial is started; to resume: {RESUME}")
    assert own.sweep.next_trial("other") is WAIT
    assert isinstance(trial, dict)
    own.end("running", 1)
    assert own.store.trials() == {0, 1}, "what is in training ends"
    assert own.sweep.next_trial("other") is WAIT
    resumed = Driver.start(tmp_path)
    assert resumed.launch.progress.status.paused
    assert resumed.train() is None
    resumed.ask("trials", number=2)
    assert resumed.train() is None
    assert resumed.launch.ended, "a pause does not keep what has nothing left to do"


def test_what_cannot_be_followed_any_more_is_refused_with_a_reason(tmp_path: Path) -> None:
    own = Driver.start(tmp_path)
    own.train()
    own.sweep.next_trial("running")
    own.ask("stop", number=0)
    own.ask("stop", number=3)
    own.ask("trials", number=1)
    own.ask("add", params={"method.lambda": 99.0})
    rows = open_results(tmp_path / "results").sql("FROM steering ORDER BY number").rows()
    assert {row["state"] for row in rows} == {"refused"}
    assert [row["reason"] for row in rows] == [line.partition(": ")[2] for line in own.said[-4:]]
    assert "trial 0 is not in training" in rows[0]["reason"]
    assert "2 have ended or are in training" in rows[2]["reason"]
    assert "allowed: 0.05 to 5" in rows[3]["reason"]
    assert own.launch.study.trials == 4


def test_a_store_that_fails_delays_a_request_and_harms_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Driver.start(tmp_path)
    submit(own.store.folder, Request("add", "ada@host", params={"method.lambda": 0.3}))
    launch = Driver.start(tmp_path).launch  # which has taken it
    submit(launch.store.folder, Request("add", "ada@host", params={"method.lambda": 0.4}))
    with monkeypatch.context() as broken, launch.steering.watched():
        broken.setattr("trainer.files.os.replace", full)
        time.sleep(2.3)  # until it has looked
        launch.steering.take(launch.study, launch.progress)
        assert launch.study.trials == 5
    launch.steering.take(launch.study, launch.progress)
    assert launch.study.trials == 6


def full(*names: object) -> None:
    raise OSError(28, "No space left on device")
