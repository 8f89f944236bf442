"""What is done once before the first pack: packs wait for it, and none is trained where it cannot be done."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher

from support.sweeps import space_file
from sweeper.execution.packing import Packing, noted
from sweeper.execution.sweep import Driver
from sweeper.execution.trial import Job
from sweeper.execution.worker import Preparation
from sweeper.search.space import load_space
from sweeper.store.store import Store

MEASURED = Packing(2, 4, 0.01, 0.02)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def driver(tmp_path: Path, said: list[str]) -> Driver:
    """One that has handed its preparation to the trial ``first``."""
    space = load_space(space_file(tmp_path, trials=9))
    made = Driver(Job(space, str(tmp_path / "s"), None), Store(tmp_path, "s"), 5, said.append, lambda asked: None)
    first = made.search.peek()
    assert first is not None
    made.preparation = Preparation(first.params, 4, first_tasks=2)
    assert made.suggest("first") == {"prepare": {"params": first.params, "most": 4, "first_tasks": 2}}
    return made


def hears(driver: Driver, report: dict[str, Any], *, last: bool = False) -> None:
    driver.on_trial_result("first", {"report": json.dumps(report)})
    if last:
        driver.on_trial_complete("first", {"report": json.dumps(report)})


def test_packs_wait_for_it_and_are_as_large_as_it_says(driver: Driver, said: list[str]) -> None:
    assert driver.suggest("second") is None
    hears(driver, {"packing": asdict(MEASURED)})
    assert driver.suggest("second") is None
    hears(driver, {"first_task_s": 1.25}, last=True)
    assert len(driver.suggest("second")["pack"]) == 2
    assert noted(driver.store.folder, driver.space.spec.resources) == MEASURED
    assert said == [
        "training the first task once for all configurations (2 seeds)",
        "2 configurations a trial: 4 runs together, each 2 times as fast as alone",
        "first task trained: 1.2 device seconds, saved in every other configuration",
    ]


def test_packs_that_could_not_be_measured_are_as_asked(driver: Driver, said: list[str]) -> None:
    hears(driver, {"not_measured": "too few images"})
    hears(driver, {"first_task_s": None}, last=True)
    assert len(driver.suggest("second")["pack"]) == 1
    assert said[-1] == "packs of 1, not measured: too few images"
    assert noted(driver.store.folder, driver.space.spec.resources) is None


def test_a_refused_one_ends_the_sweep(driver: Driver) -> None:
    hears(driver, {"refused": "PyTorch sees no GPU"}, last=True)
    assert str(driver.refusal) == "PyTorch sees no GPU"
    assert driver.suggest("second") == Searcher.FINISHED
    assert driver.store.finished_trials() == set()


def test_one_whose_process_is_lost_is_done_again_or_ends_the_sweep(driver: Driver, said: list[str]) -> None:
    driver.recovered("first", "its process was lost")
    assert said[-1] == "preparation: its process was lost; it is done again"
    assert driver.suggest("second") is None
    driver.fail("first", "the trial crashed")
    assert str(driver.refusal) == "the trial crashed"
    assert driver.suggest("second") == Searcher.FINISHED
