"""Checkpoints: whole or not there, of the right run, and plain values only."""

import hashlib
import io
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
import torch

from support.runs import FEW_IMAGES, timeless, tiny_run
from trainer.errors import CheckpointError
from trainer.files import atomic_write
from trainer.training.checkpoint import FileSlot, from_bytes
from trainer.training.loop import EpochReport
from trainer.training.observer import Observer, TaskReport
from trainer.training.options import DeviceOptions
from trainer.training.session import train, train_first_task

CPU = DeviceOptions(device="cpu")


def test_a_slot_is_empty_or_holds_what_was_written_last(tmp_path: Path) -> None:
    slot = FileSlot(tmp_path / "a" / "b" / "checkpoint.pt")
    assert slot.read() is None
    slot.write(b"one")
    slot.write(b"two")
    assert slot.read() == b"two"
    assert [path.name for path in slot.path.parent.iterdir()] == ["checkpoint.pt"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "checkpoint.pt"
    atomic_write(file, b"old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        atomic_write(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


WRITER = """
import sys
from pathlib import Path
from trainer.files import atomic_write
number = 0
while True:
    atomic_write(Path(sys.argv[1]), bytes([number % 256]) * 4_000_000)
    number += 1
"""


def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pt"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(file)])
    try:
        deadline = time.monotonic() + 120
        while not file.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for _ in range(20):
            content = file.read_bytes()
            assert len(content) == 4_000_000
            assert len(set(content)) == 1
            time.sleep(0.005)
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    content = file.read_bytes()
    assert (len(content), len(set(content))) == (4_000_000, 1)


@pytest.fixture
def written(tmp_path: Path) -> FileSlot:
    """The checkpoint of a finished run."""
    slot = FileSlot(tmp_path / "checkpoint.pt")
    train([tiny_run("finetune", data=FEW_IMAGES, protocol={"tasks": 1}, optim={"epochs": 1})], CPU, checkpoint=slot)
    return slot


def test_another_run_is_refused_and_leaves_it_alone(written: FileSlot) -> None:
    content = written.read()
    other = tiny_run("finetune", data=FEW_IMAGES, protocol={"tasks": 1}, optim={"epochs": 1}, seed=1)
    with pytest.raises(CheckpointError, match=rf"^{written}: holds runs [0-9a-f]{{16}}, not {other.run_id}$"):
        train([other], CPU, checkpoint=written)
    assert written.read() == content


def test_a_damaged_file_is_named(written: FileSlot) -> None:
    content = written.read()
    assert content is not None
    for damaged in (b"", content[:-1], content[: len(content) // 2], content[100:], b"\0" * 1000):
        with pytest.raises(CheckpointError, match=rf"^{written}: not a readable checkpoint \(\w+\)$"):
            from_bytes(damaged, written)


def test_one_changed_bit_anywhere_is_noticed(written: FileSlot) -> None:
    content, draw = written.read() or b"", random.Random(0)
    for _ in range(200):
        damaged = bytearray(content)
        damaged[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        with pytest.raises(CheckpointError, match="not a readable checkpoint"):
            from_bytes(bytes(damaged), written)


class Interrupted(Observer):
    """Ends the run before its last task, or keeps what it was told."""

    def __init__(self, ends: bool) -> None:
        self.ends, self.told = ends, list[str]()

    def on_task(self, report: TaskReport) -> Collection[int]:
        if self.ends and report.task == 1:
            raise KeyboardInterrupt
        return ()

    def on_unreadable(self, problem: str) -> None:
        self.told.append(problem)


def damage(path: Path) -> None:
    """Change one bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_run_whose_checkpoint_is_damaged_is_trained_again(tmp_path: Path) -> None:
    configs, slot = [tiny_run("finetune", data=FEW_IMAGES)], FileSlot(tmp_path / "checkpoint.pt")
    with pytest.raises(KeyboardInterrupt):
        train(configs, CPU, checkpoint=slot, observer=Interrupted(ends=True))
    damage(slot.path)
    observer = Interrupted(ends=False)
    (again,) = train(configs, CPU, checkpoint=slot, observer=observer)
    assert timeless(again) == timeless(train(configs, CPU)[0])
    assert len(observer.told) == 1
    assert str(slot) in observer.told[0]


@pytest.mark.parametrize("harm", [damage, Path.unlink], ids=["damaged", "missing"])
def test_shared_first_tasks_are_all_there_or_all_trained_again(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    configs = [tiny_run("finetune", data=FEW_IMAGES, seed=seed) for seed in range(3)]

    def slot(first_task_id: str) -> FileSlot:
        return FileSlot(tmp_path / f"{first_task_id}.pt")

    whole, _ = train_first_task(configs, CPU, slot)
    harm(slot(configs[1].first_task_id).path)
    observer = Interrupted(ends=False)
    again, spent_s = train_first_task(configs, CPU, slot, observer)
    assert spent_s > 0
    assert len(observer.told) == (harm is damage)
    for first_task_id, content in whole.items():
        assert same_tensors(again[first_task_id], content)
        assert same_tensors(from_bytes(slot(first_task_id).read() or b"", "file"), content)
    assert train_first_task(configs, CPU, slot)[1] == 0


@pytest.mark.parametrize("alone", [True, False], ids=["by itself", "before the rest"])
def test_a_first_task_is_resumed_within_itself(tmp_path: Path, alone: bool) -> None:
    """A node that is lost costs the minutes since the last checkpoint, not a task of fifty classes."""
    configs = [tiny_run("finetune", data=FEW_IMAGES, optim={"epochs": 4}, seed=seed) for seed in range(2)]
    options, within = DeviceOptions(device="cpu", checkpoint_every_s=1e-9), FileSlot(tmp_path / "within.pt")
    epochs: list[int] = []

    class Epochs(Observer):
        def on_epoch(self, report: EpochReport) -> None:
            epochs.append(report.epoch)
            if epochs == [0, 1, 2]:
                raise KeyboardInterrupt

    def slot(folder: str) -> Callable[[str], FileSlot]:
        return lambda first_task_id: FileSlot(tmp_path / folder / f"{first_task_id}.pt")

    def train_it() -> None:
        if alone:
            train_first_task(configs, options, slot("killed"), Epochs(), within)
        else:
            own = {"first_task_checkpoint": slot("killed"), "first_task_progress": within}
            train(configs, options, observer=Epochs(), **own)

    with pytest.raises(KeyboardInterrupt):
        train_it()
    train_it()
    assert epochs[:5] == [0, 1, 2, 2, 3]
    resumed, spent_s = train_first_task(configs, CPU, slot("killed"))
    assert spent_s == 0
    whole, _ = train_first_task(configs, CPU, slot("whole"))
    assert all(same_tensors(resumed[first_task_id], content) for first_task_id, content in whole.items())


def same_tensors(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two checkpoints hold the same to the last bit."""
    return one["tensors"].keys() == other["tensors"].keys() and all(
        torch.equal(tensor, other["tensors"][name]) for name, tensor in one["tensors"].items()
    )


def test_another_format_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    written_by_another = FileSlot(tmp_path / "checkpoint.pt")
    monkeypatch.setattr("trainer.training.checkpoint.FORMAT", 999)
    train([tiny_run("finetune", data=FEW_IMAGES, optim={"epochs": 1})], CPU, checkpoint=written_by_another)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"checkpoint format 999, this code reads \d"):
        from_bytes(written_by_another.read() or b"", "file")


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "harm",)

    buffer = io.BytesIO()
    torch.save({"format": 1, "tensors": Harmful()}, buffer)
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        from_bytes(buffer.getvalue() + hashlib.sha256(buffer.getbuffer()).digest(), "file")
    assert not (tmp_path / "harm").exists()
    torch.load(io.BytesIO(buffer.getvalue()), weights_only=False)
    assert (tmp_path / "harm").exists(), "it would have done harm"


def test_it_holds_plain_values_and_tensors_that_lead_with_the_member(written: FileSlot) -> None:
    content = from_bytes(written.read() or b"", written)
    assert all(tensor.shape[0] == 1 for tensor in content["tensors"].values())
    assert content["cursor"]["task"] == 1
