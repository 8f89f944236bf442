"""What rounding does to the losses of a short run: bfloat16 and float32 against float64, on the same draws."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import torch

from benchmarks.gpu.findings import Findings
from benchmarks.gpu.kit import Kit
from trainer.results.rows import RunResult
from trainer.training.profile import few_images
from trainer.training.session import train

_EPOCHS = 10
_STEPS = 300
"""that a run in float64 takes, about, in steps of the run"""
TF32_OFF = "float32 without TF32"


def precisions(kit: Kit, found: Findings) -> None:
    """A run of the method on few images, in each precision."""
    found.headers = ("precision", "first loss", "last loss", "relative difference of the first", "largest", "s")
    optim = kit.config.optim.model_copy(update={"epochs": _EPOCHS, "milestones": (), "lr": 0.02})
    config = kit.config.model_copy(update={"optim": optim, "stage2": None})
    few = few_images(kit.task_stream, optim.batch_size)
    reference: RunResult | None = None
    names = ("float64", *((TF32_OFF,) if kit.on_gpu else ()), "float32", "bfloat16")
    expected_s = kit.expected_s(_STEPS)
    for name in names:
        if not found.fits(name, expected_s):
            return
        with found.guarded(name), _tf32(name != TF32_OFF):
            (result,) = train([config], replace(kit.options, precision=name.split()[0]), task_stream=few)
            reference = reference or result
            losses = [row.loss for row in result.epochs]
            expected = [row.loss for row in reference.epochs]
            differences = [abs(a - b) / abs(b) for a, b in zip(losses, expected, strict=True)]
            expected_s = sum(row.wall_s for row in result.tasks)
            found.add(
                [
                    name,
                    f"{losses[0]:.4f}",
                    f"{losses[-1]:.4f}",
                    f"{differences[0]:.1e}",
                    f"{max(differences):.1e}",
                    f"{expected_s:.2f}",
                ],
                losses=losses,
                differences=differences,
                run_s=expected_s,
            )
    found.notes.append(f"{_EPOCHS} epochs a task on about a batch of images; later losses differ as any two runs do.")


@contextlib.contextmanager
def _tf32(on: bool) -> Iterator[None]:
    """Within: whether a GPU may convolve and multiply float32 in TF32, where PyTorch's default allows it."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    if not on:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
