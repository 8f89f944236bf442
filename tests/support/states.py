"""What is inside of a tiny run: its state after every task or epoch."""

from typing import Any

from torch import Tensor

from support.runs import FEW_IMAGES, tiny_run
from trainer.training.checkpoint import from_bytes
from trainer.training.options import DeviceOptions
from trainer.training.session import train


class Kept:
    """All checkpoints of a run, in memory; none to begin from."""

    def __init__(self) -> None:
        self.contents: list[dict[str, Any]] = []

    def read(self) -> None:
        return None

    def write(self, content: bytes) -> None:
        self.contents.append(from_bytes(content, "memory"))

    def discard(self) -> None:
        raise AssertionError("nothing was read")


def checkpoints(
    name: str, hyperparameters: dict[str, Any] | None = None, every: int = 0, **changes: Any
) -> list[dict[str, Any]]:
    """The checkpoints that a tiny run of a method writes in float64: after every task, and within them as asked."""
    kept = Kept()
    options = DeviceOptions(device="cpu", precision="float64", checkpoint_every_epochs=every)
    train([tiny_run(name, hyperparameters, **{"data": FEW_IMAGES, **changes})], options, checkpoint=kept)
    return kept.contents


def trained(name: str, hyperparameters: dict[str, Any] | None = None, **changes: Any) -> list[dict[str, Tensor]]:
    """The tensors of a tiny run's state after each of its tasks."""
    return [content["tensors"] for content in checkpoints(name, hyperparameters, **changes)]
