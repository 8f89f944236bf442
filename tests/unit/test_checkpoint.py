"""Checkpoints: whole or not there, of the right run, and plain values only."""

import io
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from support.runs import FEW_IMAGES, tiny_run
from trainer.errors import CheckpointError
from trainer.files import atomic_write
from trainer.training.checkpoint import FileSlot, from_bytes
from trainer.training.options import DeviceOptions
from trainer.training.session import train

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


def test_another_format_is_named(written: FileSlot) -> None:
    buffer = io.BytesIO()
    torch.save({"format": 999}, buffer)
    with pytest.raises(CheckpointError, match=r"checkpoint format 999, this code reads \d"):
        from_bytes(buffer.getvalue(), written)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "harm",)

    buffer = io.BytesIO()
    torch.save({"format": 1, "tensors": Harmful()}, buffer)
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        from_bytes(buffer.getvalue(), "file")
    assert not (tmp_path / "harm").exists()
    torch.load(io.BytesIO(buffer.getvalue()), weights_only=False)
    assert (tmp_path / "harm").exists(), "it would have done harm"


def test_it_holds_plain_values_and_tensors_that_lead_with_the_member(written: FileSlot) -> None:
    content = from_bytes(written.read() or b"", written)
    assert all(tensor.shape[0] == 1 for tensor in content["tensors"].values())
    assert content["cursor"]["task"] == 1
