"""The set-up before the first pack: packs wait for it, and none is trained where it cannot be done."""

from pathlib import Path

import pytest

from support.drivers import Driver, driver
from sweeper.execution.job import SetUp
from sweeper.execution.messages import Failed, PackingMeasured, PackingNotMeasured, SetUpDone
from sweeper.execution.packing import Packing, noted
from sweeper.execution.sweep import WAIT

MEASURED = Packing(2, 4, 0.01, 0.02)


@pytest.fixture
def own(tmp_path: Path) -> Driver:
    """A sweep that has handed its set-up to the Ray trial ``first``."""
    made = driver(tmp_path, packing=Packing(1), set_up=True)
    trial = made.sweep.next_trial("first")
    assert isinstance(trial, dict)
    wanted = SetUp.of_trial(trial)
    assert wanted is not None
    assert (wanted.largest, wanted.first_tasks) == (4, 2)
    assert list(wanted.configs) == made.space.configs({})
    return made


def test_packs_wait_for_it_and_are_as_large_as_it_says(own: Driver) -> None:
    assert own.sweep.next_trial("second") is WAIT
    own.sweep.receive("first", PackingMeasured(packing=MEASURED))
    assert own.sweep.next_trial("second") is WAIT
    for _ in range(2):  # Ray Tune gives the last message of a trial twice
        own.sweep.receive("first", SetUpDone(first_task_s=1.25))
    assert own.pack("second") == [0, 1]
    assert noted(own.store.folder, own.space.spec.resources) == MEASURED
    told = "\n".join(own.said)
    assert "2 seeds" in told
    assert str(MEASURED) in told
    assert told.count("1.2 device seconds") == 1


def test_packs_that_could_not_be_measured_have_the_given_size(own: Driver) -> None:
    own.sweep.receive("first", PackingNotMeasured(reason="too few images"))
    own.sweep.receive("first", SetUpDone(first_task_s=None))
    assert own.pack("second") == [0]
    assert "too few images" in own.said[-1]
    assert noted(own.store.folder, own.space.spec.resources) is None


def test_one_that_cannot_be_done_ends_the_sweep(own: Driver) -> None:
    own.sweep.receive("first", Failed(reason="a run is too large"))
    assert str(own.sweep.refusal) == "a run is too large"
    assert own.sweep.next_trial("second") is False
    assert own.store.trials() == set()


def test_one_whose_process_is_lost_is_done_again(own: Driver) -> None:
    own.sweep.interrupted("first", "process", "its process was lost")
    assert "its process was lost" in own.said[-1]
    trial = own.sweep.next_trial("second")
    assert isinstance(trial, dict)
    assert SetUp.of_trial(trial) is not None
    own.sweep.receive("second", SetUpDone(first_task_s=None))
    assert own.pack("third") == [0]


def test_one_that_always_raises_ends_the_sweep(own: Driver) -> None:
    for attempt in range(3):
        own.sweep.interrupted("first" if not attempt else f"again {attempt}", "code", "the trial crashed")
        again = own.sweep.next_trial(f"again {attempt + 1}")
    assert again is False
    assert str(own.sweep.refusal) == "the trial crashed"
