"""What cuts a trial short is stored as a configuration's failure only if the configuration caused it."""

from pathlib import Path
from typing import Any

import pytest

from support.drivers import Driver, driver
from support.results import result
from support.runs import FEW_IMAGES, tiny_run
from sweeper.execution import worker
from sweeper.execution.job import Job, pack_as_trial
from sweeper.execution.messages import EndedTrial, Evicted, Failed, Interrupted, Message, TaskDone, TrialsEnded
from sweeper.execution.packing import Packing
from sweeper.execution.sweep import WAIT, BrokenSweepError
from sweeper.execution.trial import train_pack
from sweeper.search.space import Resources
from sweeper.store.folder import Folder
from trainer.errors import UserError

FULL = Interrupted(reason="node: No space left on device")


def finish(own: Driver, trial_id: str, *numbers: int) -> None:
    """A Ray trial reports that configurations of its pack have finished."""
    ended = tuple(EndedTrial(number=n, results=(result(n, 0), result(n, 1))) for n in numbers)
    own.sweep.receive(trial_id, TrialsEnded(pack=trial_id, attempt="a", ended=ended, training=False))


def finish_task(own: Driver, trial_id: str, task: int) -> None:
    own.sweep.receive(trial_id, TaskDone(pack="key", task=task, tasks=99, values={0: 50.0}))


def outcomes(own: Driver) -> dict[int, str | None]:
    """The reason of each failure that is stored, and None for what has finished, by trial."""
    return {row["trial"]: row["error"] for row in own.store.read(["trial", "error"]).to_pylist()}


# -- the world ---------------------------------------------------------------------------------------------


def test_a_full_disk_costs_a_pause_that_grows_and_no_configuration(tmp_path: Path) -> None:
    own = driver(tmp_path, packing=Packing(1), trials=1)
    own.pack("first")
    finish_task(own, "first", 0)
    trial, pauses = "first", list[float]()
    for attempt in range(8):
        begun = own.clock.now
        for _ in range(2):  # Ray Tune gives the last message of a trial twice
            own.sweep.receive(trial, FULL)
        trial = f"again {attempt}"
        while own.sweep.next_trial(trial) is WAIT:
            own.clock.now += 0.5
        pauses.append(own.clock.now - begun)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    finish(own, trial, 0)
    assert outcomes(own) == {0: None}
    assert own.sweep.next_trial("last") is False


def test_progress_forgets_faults(tmp_path: Path) -> None:
    own = driver(tmp_path, packing=Packing(1), trials=1)
    for task in range(40):
        own.clock.now += 3600
        assert own.pack(f"{task}") == [0]
        finish_task(own, f"{task}", task)
        own.sweep.receive(f"{task}", FULL)
        assert "trying again in 1 s" in own.said[-1]


@pytest.mark.parametrize("worked", [True, False], ids=["after some progress", "from the start"])
def test_a_world_that_stays_broken_ends_the_launch_in_one_line(tmp_path: Path, worked: bool) -> None:
    own = driver(tmp_path, packing=Packing(1))
    for attempt in range(100):
        found = own.sweep.next_trial(f"{attempt}")
        if own.sweep.refusal is not None:
            break
        assert isinstance(found, dict)
        for _ in range(attempt == 0 and worked):
            finish_task(own, "0", 0)
        if attempt and worked:  # a resumed pack reports what it had finished: that is no progress
            finish_task(own, f"{attempt}", 0)
        own.sweep.receive(f"{attempt}", FULL)
        own.clock.now += 60
    assert attempt == (12 if worked else 3)
    assert isinstance(own.sweep.refusal, UserError)
    assert "No space left on device" in str(own.sweep.refusal)
    assert own.store.trials() == set()
    assert own.store.suggested().keys() == {0}


def test_trials_that_end_at_one_time_are_one_fault(tmp_path: Path) -> None:
    own = driver(tmp_path, packing=Packing(1))
    for number in range(8):
        assert own.pack(f"{number}") == [number]
    for number in range(8):
        own.sweep.receive(f"{number}", FULL)
    assert own.sweep.refusal is None
    own.clock.now += 1
    assert [own.pack(f"again {number}") for number in range(8)] == [[number] for number in range(8)]


# -- processes, nodes and exceptions -------------------------------------------------------------------------


def test_a_pack_is_given_up_after_five_processes_without_progress(tmp_path: Path) -> None:
    own = driver(tmp_path, packing=Packing(1), trials=1, retries=0)
    for attempt in range(7):
        assert own.pack(f"{attempt}") == [0]
        for task in range(min(3, attempt + 1)):  # the last four attempts finish nothing new
            finish_task(own, f"{attempt}", task)
        own.sweep.interrupted(f"{attempt}", "process", "its process was lost")
    assert outcomes(own) == {0: "its process was lost (5 times in a row)"}


@pytest.mark.parametrize("noticed", [False, True], ids=["afterwards", "in time"])
def test_lost_nodes_have_no_limit(tmp_path: Path, noticed: bool) -> None:
    own = driver(tmp_path, packing=Packing(1), trials=1, retries=0)
    for attempt in range(100):
        assert own.pack(f"{attempt}") == [0]
        if noticed:
            own.sweep.receive(f"{attempt}", Evicted(reason="its node is being drained"))
        own.sweep.interrupted(f"{attempt}", "node", "its node was lost")
    assert len(own.said) == 100
    assert own.pack("last") == [0]
    finish(own, "last", 0)
    assert outcomes(own) == {0: None}


def test_retries_count_exceptions_alone(tmp_path: Path) -> None:
    own = driver(tmp_path, packing=Packing(1), trials=1, retries=1)
    for attempt, cause in enumerate(("process", "code", "node", "world", "code")):
        own.clock.now += 60
        assert own.pack(f"{attempt}") == [0]
        assert own.store.trials() == set()
        own.sweep.interrupted(f"{attempt}", cause, f"reason {attempt}")
    assert outcomes(own) == {0: "reason 4"}


@pytest.mark.parametrize("how", ["exception", "message"])
def test_of_a_pack_only_the_one_that_fails_alone_has_failed(tmp_path: Path, how: str) -> None:
    own = driver(tmp_path, packing=Packing(3), trials=3, retries=0)

    def fail(trial_id: str) -> None:
        if how == "message":
            own.sweep.receive(trial_id, Failed(reason="too heavy"))
        else:
            own.sweep.interrupted(trial_id, "code", "too heavy")

    assert own.pack("all") == [0, 1, 2]
    finish(own, "all", 0)
    fail("all")
    assert own.pack("one") == [1]
    assert own.pack("two") == [2]
    fail("two")
    finish(own, "one", 1)
    assert outcomes(own) == {0: None, 1: None, 2: "too heavy"}
    assert (tmp_path / "s" / "failed" / "trial-000002.yaml").exists()


def test_a_pack_is_handed_out_again_as_it_was(tmp_path: Path) -> None:
    """Its checkpoints are those of all its configurations, ended ones too."""
    own = driver(tmp_path, packing=Packing(2), trials=3)
    assert own.pack("first") == [0, 1]
    ended = (EndedTrial(number=0, results=(result(0, 0), result(0, 1))),)
    own.sweep.receive("first", TrialsEnded(pack="key", attempt="a", ended=ended, training=True))
    own.sweep.interrupted("first", "process", "its process was lost")
    assert own.pack("again") == [0, 1]
    finish(own, "again", 0, 1)
    assert own.pack("last") == [2]


# -- a sweep that is broken from the start -------------------------------------------------------------------


def fail_alone(own: Driver, number: int, why: str) -> None:
    assert own.pack(f"{number}") == [number]
    own.sweep.receive(f"{number}", Failed(reason=why))


def test_the_first_configurations_that_fail_alike_stop_the_sweep_and_are_tried_again(tmp_path: Path) -> None:
    own = driver(tmp_path, packing=Packing(1), fail_fast=3)
    for number in range(3):
        fail_alone(own, number, f"no module named x (line {number})")
    assert own.sweep.next_trial("more") is False
    assert isinstance(own.sweep.refusal, BrokenSweepError)
    assert "no module named x" in str(own.sweep.refusal)
    assert own.store.trials() == set()
    suggested = own.store.suggested()
    again = driver(tmp_path, packing=Packing(1), fail_fast=3)
    again.study.restore({}, suggested)
    for number in range(3):
        assert again.pack(f"{number}") == [number]
        finish(again, f"{number}", number)
    assert outcomes(again) == {0: None, 1: None, 2: None}
    assert {n: again.study.space.configs(p) for n, p in suggested.items()} == {
        n: again.space.configs(p) for n, p in suggested.items()
    }


@pytest.mark.parametrize("then", ["another reason", "one that finishes", "the end"])
def test_otherwise_they_are_stored(tmp_path: Path, then: str) -> None:
    own = driver(tmp_path, packing=Packing(1), fail_fast=3)
    fail_alone(own, 0, "too heavy")
    fail_alone(own, 1, "too heavy")
    assert own.store.trials() == set()
    if then == "another reason":
        fail_alone(own, 2, "too light")
    elif then == "one that finishes":
        own.pack("2")
        finish(own, "2", 2)
    else:
        own.sweep.end()
    assert {n: why for n, why in outcomes(own).items() if n < 2} == {0: "too heavy", 1: "too heavy"}
    fail_alone(own, 2 + (then != "the end"), "too heavy")
    assert own.sweep.refusal is None


# -- one configuration, suggested twice ----------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2])
def test_a_configuration_that_is_in_training_is_not_trained_beside_itself(tmp_path: Path, size: int) -> None:
    stored: dict[str, Any] = {}
    point = {"method.alpha": 1.0, "method.lambda": 0.5}
    own = driver(
        tmp_path,
        packing=Packing(size),
        lookup=lambda run_ids: stored.get(run_ids[0]),
        trials=3,
        first=[point, point],
    )
    assert own.pack("first") == [0]
    if size == 1:
        assert own.sweep.next_trial("second") is WAIT
    else:  # the other place is for another one
        assert own.pack("third") == [2]
    stored[own.space.configs(point)[0].run_id] = [result(0, 0), result(0, 1)]
    finish(own, "first", 0)
    if size == 1:
        assert own.pack("third") == [2]
    else:
        assert own.sweep.next_trial("second") is WAIT
    finish(own, "third", 2)
    attempts = own.store.read(["trial", "attempt"]).to_pylist()
    assert {row["trial"]: row["attempt"] for row in attempts} == {0: "a", 1: "from-store", 2: "a"}


# -- in the worker -------------------------------------------------------------------------------------------


def test_a_damaged_checkpoint_of_a_pack_is_named_and_made_again(tmp_path: Path) -> None:
    pack = {4: [tiny_run("finetune", data=FEW_IMAGES, seed=seed) for seed in (0, 1)]}
    job = Job(str(tmp_path), Resources(), "acc_task_mean_pct")

    def trained(killed: bool) -> list[Message]:
        messages: list[Message] = []

        def report(message: Message) -> None:
            if killed and isinstance(message, TaskDone) and message.task == 1:
                raise KeyboardInterrupt
            messages.append(message)

        if killed:
            with pytest.raises(KeyboardInterrupt):
                train_pack(job, pack, report)
        else:
            train_pack(job, pack, report)
        return messages

    def values(messages: list[Message]) -> list[dict[int, float]]:
        return [message.values for message in messages if isinstance(message, TaskDone)]

    whole = values(trained(killed=False))
    (folder,) = Folder.at(tmp_path).child("checkpoints").folders()
    (file,) = (tmp_path / "checkpoints" / folder).glob("*.pt")
    file.unlink()
    trained(killed=True)
    (file,) = (tmp_path / "checkpoints" / folder).glob("*.pt")
    content = bytearray(file.read_bytes())
    content[1000] ^= 1
    file.write_bytes(content)
    again = trained(killed=False)
    assert values(again) == whole
    assert next(message.text for message in again if message.kind == "warned").startswith(str(file))
    assert not file.exists()


def test_a_node_with_other_code_trains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[Message] = []
    monkeypatch.setattr(worker, "send", messages.append)
    pack = {0: [tiny_run("finetune", data=FEW_IMAGES)]}
    worker.run_trial(pack_as_trial(pack), Job(str(tmp_path), Resources(), "acc_task_mean_pct", code="source-other"))
    (interrupted,) = messages
    assert isinstance(interrupted, Interrupted)
    assert "its code is not the driver's" in interrupted.reason
