"""The number of configurations in a pack: chosen from the cost of steps, noted, and halved when too large."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from support.drivers import driver
from support.sweeps import space_file
from sweeper.execution.messages import PackSplit
from sweeper.execution.packing import Packing, choose, largest, note, noted
from sweeper.search.space import Resources
from sweeper.search.space_file import load_space
from sweeper.store.folder import Folder
from trainer.training.profile import StepCost

MIB = 1 << 20


def device(step_ms: Mapping[int, float], room: int = 1000) -> Callable[[int], StepCost]:
    """A device on which a step of n runs takes ``step_ms[n]`` and (10 + 10 n) MiB; at most ``room`` runs fit."""

    def profile_steps(members: int) -> StepCost:
        if members > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return StepCost(members, step_ms[members] / 1e3, (10 + 10 * members) * MIB)

    return profile_steps


FLAT_FROM_12 = {1: 10.0, 3: 12.0, 6: 16.0, 12: 24.0, 24: 48.0, 48: 96.0}


def test_a_pack_grows_while_that_makes_a_run_cheaper() -> None:
    found = choose(None, 3, 16, device(FLAT_FROM_12))
    assert (found.pack, found.members, found.peak_bytes) == (4, 12, 130 * MIB)
    assert found.gain == pytest.approx(10 * 12 / 24)
    assert str(found) == "4 configurations per pack: 12 runs together, 5.0x the throughput of separate runs, 0.13 GiB"


def test_a_pack_leaves_the_search_something_to_learn_from() -> None:
    assert choose(None, 3, 3, device(FLAT_FROM_12)).pack == 2


def test_a_pack_fits_the_memory() -> None:
    assert choose(None, 3, 16, device(FLAT_FROM_12), budget_bytes=100 * MIB).pack == 2
    assert choose(None, 3, 16, device(FLAT_FROM_12), budget_bytes=130 * MIB).pack == 4


def test_an_out_of_memory_error_is_an_answer() -> None:
    assert choose(None, 3, 16, device(FLAT_FROM_12, room=6)).pack == 2
    assert choose(4, 3, 16, device(FLAT_FROM_12, room=6)) == Packing(4)
    assert choose(None, 3, 16, device(FLAT_FROM_12, room=0)) == Packing(1)


def test_a_measurement_that_would_take_too_long_is_not_begun() -> None:
    slow = {members: 1000 * ms for members, ms in FLAT_FROM_12.items()}
    found = choose(None, 3, 16, device(slow))
    assert (found.pack, found.gain) == (1, None)


def test_a_given_size_is_kept_and_measured() -> None:
    found = choose(8, 3, 1, device(FLAT_FROM_12))
    assert (found.pack, found.members, found.gain) == (8, 24, pytest.approx(5))


def test_one_run_alone_gains_nothing() -> None:
    found = choose(None, 1, 1, device(FLAT_FROM_12))
    assert (found.pack, found.members, found.gain) == (1, 1, pytest.approx(1))


def test_auto_packs_only_configurations_that_can_be_trained_together(tmp_path: Path) -> None:
    assert largest(load_space(space_file(tmp_path, trials=64)), concurrency=2) == 8
    assert largest(load_space(space_file(tmp_path, trials=6)), concurrency=2) == 1
    vary = {"optim.lr": {"type": "float", "low": 0.01, "high": 0.1}}
    assert largest(load_space(space_file(tmp_path, trials=64, vary=vary)), concurrency=2) == 1


METHODS: dict[str, Any] = {
    "vary": {
        "method.name": ["bic", "wa", "finetune"],
        "method.lambda": {"type": "float", "low": 0.1, "high": 5, "when": {"method.name": ["bic", "wa"]}},
    },
    "first": [
        {"method.name": "bic", "method.lambda": 1.0},
        {"method.name": "wa", "method.lambda": 1.0},
        {"method.name": "bic", "method.lambda": 2.0},
        {"method.name": "finetune"},
        {"method.name": "wa", "method.lambda": 2.0},
        {"method.name": "bic", "method.lambda": 3.0},
    ],
}


def test_auto_packs_where_methods_are_compared(tmp_path: Path) -> None:
    assert largest(load_space(space_file(tmp_path, trials=64, **METHODS)), concurrency=2) == 8


def test_a_pack_is_of_one_method_and_others_wait_for_theirs(tmp_path: Path) -> None:
    own = driver(tmp_path, packing=Packing(3), trials=6, **METHODS)
    assert own.pack("a") == [0, 2]
    assert own.pack("b") == [1, 4]
    assert own.pack("c") == [3]
    assert own.pack("d") == [5]


def test_a_later_launch_with_the_same_resources_measures_nothing(tmp_path: Path) -> None:
    folder, packing = Folder.at(tmp_path), Packing(4, 12, 0.01, 0.024, 130 * MIB)
    assert noted(folder, Resources()) is None
    note(folder, Resources(), packing)
    assert noted(folder, Resources()) == packing
    assert noted(folder, Resources(cpu=2)) is None
    assert noted(folder, Resources(pack=2)) is None
    (tmp_path / "packing.json").write_text("{")
    assert noted(folder, Resources()) is None


def test_after_a_split_packs_are_smaller(tmp_path: Path) -> None:
    own = driver(tmp_path, packing=Packing(4, 8, 0.01, 0.04))
    assert own.pack("a") == [0, 1, 2, 3]
    checkpoints = own.store.folder.child("checkpoints", "key")
    checkpoints.write("000001-x.pt", b"of the whole pack")
    own.sweep.receive("a", PackSplit(pack="key"))
    assert not checkpoints.names()
    assert own.pack("b") == [4, 5]
    kept = noted(own.store.folder, own.space.spec.resources)
    assert kept is not None
    assert kept.pack == 2
    assert "out of memory" in own.said[-1]
