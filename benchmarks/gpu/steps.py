"""A real training step, caught in the loop and repeated: images, teacher, losses, gradients and optimiser."""

import time
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import torch

from trainer.config.run_config import RunConfig
from trainer.data.tasks import TaskStream
from trainer.training.loop import EpochLoop
from trainer.training.options import DeviceOptions, deterministic
from trainer.training.profile import few_images
from trainer.training.session import train

_WARM = 3
"""steps before any is timed, in which kernels are chosen and memory is taken"""
_BURST_S = 0.3
"""seconds of steps that are timed together"""


class _Caught(Exception):
    """Raised in place of a step."""

    def __init__(self, step: Callable[[], Any]) -> None:
        super().__init__()
        self.step = step


def real_step(configs: Sequence[RunConfig], options: DeviceOptions, task_stream: TaskStream) -> Callable[[], Any]:
    """The first step of the last task of runs that are trained together; each call repeats it on the same images.

    Weights hardly move: the learning rate is next to nothing. Raises what ``session.train`` raises.
    """
    few = few_images(task_stream, configs[0].optim.batch_size, every_task=configs[0].method.grows)
    optim = configs[0].optim.model_copy(update={"epochs": 2, "lr": 1e-9, "milestones": ()})
    short = [config.model_copy(update={"optim": optim, "stage2": None}) for config in configs]
    inner, last = EpochLoop.step, len(few.tasks) - 1

    def step(epoch_loop: EpochLoop, *arguments: Any) -> Any:
        if epoch_loop.task.index == last:
            raise _Caught(lambda: inner(epoch_loop, *arguments))
        return inner(epoch_loop, *arguments)

    with mock.patch.object(EpochLoop, "step", step):
        try:
            train(short, options, task_stream=few)
        except _Caught as caught:
            return caught.step
    raise RuntimeError("the last task has no step")


def together(config: RunConfig, members: int) -> list[RunConfig]:
    """The run with so many seeds."""
    return [config.model_copy(update={"seed": config.seed + member}) for member in range(members)]


class Burst:
    """Seconds of a step, as the mean of as many as fill a fraction of a second."""

    def __init__(self, step: Callable[[], Any], device: torch.device, *, burst_s: float = _BURST_S) -> None:
        """Repeats it a few times without timing it."""
        self._step, self._device, self._steps = step, device, 1
        with deterministic(False):
            for _ in range(_WARM):
                step()
            wait(device)
        self.host_s: list[float] = []
        """seconds until the host had asked for a step, by call: close to the step's where the device waits for it"""
        self._steps = max(2, min(500, round(burst_s / max(self(), 1e-6))))
        self.host_s.clear()

    def __call__(self) -> float:
        wait(self._device)
        with deterministic(False):
            started = time.perf_counter()
            for _ in range(self._steps):
                self._step()
            asked = time.perf_counter()
            wait(self._device)
        self.host_s.append((asked - started) / self._steps)
        return (time.perf_counter() - started) / self._steps


def wait(device: torch.device) -> None:
    """Until the device has done all that was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class PeakMemory:
    """The most bytes that tensors have held on a GPU since then; None on a CPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def bytes(self) -> int | None:
        """So far."""
        return torch.cuda.max_memory_allocated(self._device) if self._device.type == "cuda" else None


def mib(count: int | None) -> str:
    """``123``, or ``-`` where it is not known."""
    return "-" if count is None else f"{count / 2**20:.0f}"
