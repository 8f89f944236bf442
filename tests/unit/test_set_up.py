"""The set-up before the first pack: packs wait for it, and none is trained where it cannot be done."""

from pathlib import Path

import pytest

from support.drivers import Driver, driver
from sweeper.execution.job import SetUp
from sweeper.execution.messages import PackingMeasured, PackingNotMeasured, Refused, SetUpDone
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


def test_a_refused_one_ends_the_sweep(own: Driver) -> None:
    own.sweep.receive("first", Refused(reason="PyTorch sees no GPU"))
    assert str(own.sweep.refusal) == "PyTorch sees no GPU"
    assert own.sweep.next_trial("second") is False
    assert own.store.trials() == set()


def test_one_whose_process_is_lost_is_retried_or_ends_the_sweep(own: Driver) -> None:
    own.sweep.recovered("first", "its process was lost")
    assert "its process was lost" in own.said[-1]
    assert own.sweep.next_trial("second") is WAIT
    own.sweep.fail("first", "the trial crashed")
    assert str(own.sweep.refusal) == "the trial crashed"
    assert own.sweep.next_trial("second") is False
