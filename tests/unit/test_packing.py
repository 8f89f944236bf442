"""How many configurations a trial trains together: chosen from what steps take, noted, and halved when too many."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

from support.sweeps import space_file
from sweeper.execution.packing import Packing, choose, largest, note, noted
from sweeper.execution.sweep import Driver
from sweeper.execution.trial import Job
from sweeper.search.space import Resources, load_space
from sweeper.store.folder import Folder
from sweeper.store.store import Store
from trainer.training.profile import StepCost

MIB = 1 << 20


def device(step_ms: Mapping[int, float], room: int = 1000) -> Callable[[int], StepCost]:
    """A device on which a step of so many runs takes so long, each 10 MiB beside 10; more than ``room`` fit not."""

    def profile_steps(members: int) -> StepCost:
        if members > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return StepCost(members, step_ms[members] / 1e3, (10 + 10 * members) * MIB)

    return profile_steps


FLAT_FROM_12 = {1: 10.0, 3: 12.0, 6: 16.0, 12: 24.0, 24: 48.0, 48: 96.0}


def test_taken_are_as_many_as_make_a_run_cheaper() -> None:
    found = choose(None, 3, 16, device(FLAT_FROM_12))
    assert (found.pack, found.members, found.peak_bytes) == (4, 12, 130 * MIB)
    assert found.gain == pytest.approx(10 * 12 / 24)
    assert str(found) == "4 configurations a trial: 12 runs together, each 5 times as fast as alone, 0.13 GiB"


def test_no_more_than_leave_the_search_something_to_learn_from() -> None:
    assert choose(None, 3, 3, device(FLAT_FROM_12)).pack == 2


def test_no_more_than_the_memory_holds() -> None:
    assert choose(None, 3, 16, device(FLAT_FROM_12), budget_bytes=100 * MIB).pack == 2
    assert choose(None, 3, 16, device(FLAT_FROM_12), budget_bytes=130 * MIB).pack == 4


def test_an_out_of_memory_error_is_an_answer() -> None:
    assert choose(None, 3, 16, device(FLAT_FROM_12, room=6)).pack == 2
    assert choose(4, 3, 16, device(FLAT_FROM_12, room=6)) == Packing(4)
    assert choose(None, 3, 16, device(FLAT_FROM_12, room=0)) == Packing(1)


def test_what_would_take_too_long_is_not_tried() -> None:
    slow = {members: 1000 * ms for members, ms in FLAT_FROM_12.items()}
    found = choose(None, 3, 16, device(slow))
    assert (found.pack, found.gain) == (1, None)


def test_a_number_is_kept_and_measured() -> None:
    found = choose(8, 3, 1, device(FLAT_FROM_12))
    assert (found.pack, found.members, found.gain) == (8, 24, pytest.approx(5))


def test_one_run_alone_gains_nothing() -> None:
    found = choose(None, 1, 1, device(FLAT_FROM_12))
    assert (found.pack, found.members, found.gain) == (1, 1, pytest.approx(1))


def test_auto_packs_only_what_can_be_trained_together(tmp_path: Path) -> None:
    assert largest(load_space(space_file(tmp_path, trials=64)), concurrency=2) == 8
    assert largest(load_space(space_file(tmp_path, trials=6)), concurrency=2) == 1
    vary = {"optim.lr": {"type": "float", "low": 0.01, "high": 0.1}}
    assert largest(load_space(space_file(tmp_path, trials=64, vary=vary)), concurrency=2) == 1


def test_a_later_launch_knows_it_with_the_same_resources(tmp_path: Path) -> None:
    folder, packing = Folder.at(tmp_path), Packing(4, 12, 0.01, 0.024, 130 * MIB)
    assert noted(folder, Resources()) is None
    note(folder, Resources(), packing)
    assert noted(folder, Resources()) == packing
    assert noted(folder, Resources(cpu=2)) is None
    assert noted(folder, Resources(pack=2)) is None
    (tmp_path / "packing.json").write_text("{")
    assert noted(folder, Resources()) is None


def test_after_a_split_packs_are_smaller(tmp_path: Path) -> None:
    said: list[str] = []
    store = Store(tmp_path, "s")
    space = load_space(space_file(tmp_path, trials=9))
    driver = Driver(Job(space, str(tmp_path / "s"), None), store, 5, said.append, lambda asked: None)
    driver.packing = Packing(4, 8, 0.01, 0.04)
    assert len(driver.suggest("a")["pack"]) == 4
    checkpoints = store.folder.child("checkpoints", "key")
    checkpoints.write("000001-x.pt", b"of the whole pack")
    driver.on_trial_result("a", {"report": json.dumps({"pack": "key", "split": True})})
    assert not checkpoints.names()
    assert len(driver.suggest("b")["pack"]) == 2
    assert noted(store.folder, space.spec.resources) == driver.packing
    assert said == ["out of memory: the pack is trained in halves, later ones are of 2"]
