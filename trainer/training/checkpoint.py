"""Saving and resuming: one file, written whole or not at all, holding tensors and plain values only."""

import hashlib
import io
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch

from trainer.errors import CheckpointError
from trainer.files import atomic_write
from trainer.results.history import History
from trainer.training.state import Cursor, State

FORMAT = 5
_DIGEST = hashlib.sha256().digest_size
"""bytes behind the tensors: what a disk changes by itself is noticed"""


class CheckpointSlot(Protocol):
    """A place for one checkpoint; who keeps checkpoints elsewhere than in local files brings a class of their own."""

    def read(self) -> bytes | None:
        """The content, or None if there is none yet."""

    def write(self, content: bytes) -> None:
        """Replace the content, atomically."""

    def discard(self) -> None:
        """Take away what ``read`` has returned: it is damaged."""


class PartedSlot(CheckpointSlot, Protocol):
    """A place for the checkpoints of runs in several worlds, of which each has its own."""

    def part(self, name: str) -> CheckpointSlot:
        """The place for one of them."""


class FileSlot:
    """A slot that is a local file."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def read(self) -> bytes | None:
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None

    def write(self, content: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(self.path, content)

    def discard(self) -> None:
        """Rename it: the user may have named the wrong file."""
        self.path.replace(self.path.with_name(f"{self.path.name}.unreadable"))

    def part(self, name: str) -> "FileSlot":
        """``checkpoint-NAME.pt`` beside ``checkpoint.pt``."""
        return FileSlot(self.path.with_stem(f"{self.path.stem}-{name}"))

    def __str__(self) -> str:
        return str(self.path)


def to_bytes(state: State, run_ids: list[str]) -> bytes:
    """The state as bytes. ``run_ids``: of all configurations of the run, by position."""
    content = {
        "format": FORMAT,
        "run_ids": run_ids,
        "positions": state.positions,
        "cursor": asdict(state.cursor),
        "elapsed_s": state.elapsed_s,
        "epoch_s": state.epoch_s,
        "histories": [history.model_dump_json() for history in state.histories],
        "tensors": {name: tensor.detach().cpu() for name, tensor in state.tensors().items()},
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    buffer.write(hashlib.sha256(buffer.getbuffer()).digest())
    return buffer.getvalue()


def from_bytes(content: bytes, where: object) -> dict[str, Any]:
    """What ``to_bytes`` put in. Raises CheckpointError if it is damaged, or not a checkpoint of this format."""
    body, digest = content[:-_DIGEST], content[-_DIGEST:]
    try:
        if hashlib.sha256(body).digest() != digest:
            raise ValueError("digest")
        found = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
        version = found["format"]
    except Exception as error:
        raise CheckpointError(f"{where}: not a readable checkpoint ({type(error).__name__})") from None
    if version != FORMAT:
        raise CheckpointError(f"{where}: checkpoint format {version}, this code reads {FORMAT}")
    return dict(found)


def load(slot: CheckpointSlot, report: Callable[[str], None]) -> dict[str, Any] | None:
    """The checkpoint in the slot; None if there is none.

    One that cannot be read is discarded, as if it had never been written, and ``report`` takes the line that names it.
    """
    while (content := slot.read()) is not None:
        try:
            return from_bytes(content, slot)
        except CheckpointError as error:
            report(f"{error}; what it held is trained again")
            slot.discard()
    return None


def restore(fresh: State, content: dict[str, Any], run_ids: list[str], where: object) -> State:
    """The state as it was when the checkpoint was taken, from a fresh one of the same configurations.

    Raises CheckpointError if the checkpoint belongs to other runs.
    """
    if content["run_ids"] != run_ids:
        raise CheckpointError(f"{where}: holds runs {', '.join(content['run_ids'])}, not {', '.join(run_ids)}")
    state = fresh if content["positions"] == fresh.positions else fresh.subset(content["positions"])
    state.load_tensors(content["tensors"])
    state.cursor = Cursor(**content["cursor"])
    state.elapsed_s, state.epoch_s = content["elapsed_s"], content["epoch_s"]
    state.histories = [History.model_validate_json(history) for history in content["histories"]]
    return state
