"""What runs will take of a device, from a few steps of their last task: the time of a step, and the memory."""

import contextlib
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from trainer.config.run_config import RunConfig
from trainer.data.tasks import Task, TaskStream
from trainer.errors import UserError
from trainer.training.loop import EpochReport
from trainer.training.observer import Observer
from trainer.training.options import DeviceOptions
from trainer.training.session import train

_ENOUGH_S = 0.5
"""seconds of timed epochs; one epoch is always timed"""


class ProfileError(UserError):
    """Runs of which no step could be timed."""


@dataclass(frozen=True)
class StepCost:
    """Of runs that are trained together."""

    members: int
    step_s: float
    """a step of all of them, median"""
    peak_bytes: int | None
    """at the most: what is reserved on the GPU, or what the process holds; None on a system that does not say"""


def profile_steps(configs: Sequence[RunConfig], task_stream: TaskStream, options: DeviceOptions) -> StepCost:
    """Train the configurations together on few images: all old classes as one task, then the last task.

    Methods that grow are trained on every task.

    ``task_stream``: what they describe, built once to profile more and more of them. Raises ProfileError
    where their losses are not finite from the start, what ``session.train`` raises, and torch.OutOfMemoryError.
    """
    few = few_images(task_stream, configs[0].optim.batch_size, every_task=configs[0].method.grows)
    # A step takes as long with any learning rate, and with this one nothing diverges that is finite at first.
    optim = configs[0].optim.model_copy(update={"epochs": 5, "lr": 1e-9, "milestones": ()})
    short = [config.model_copy(update={"optim": optim, "stage2": None}) for config in configs]
    watch = StepTimer(len(few.tasks))
    peak_bytes = _watched_peak(options.resolve_device())
    with contextlib.suppress(_Enough):
        train(short, options, task_stream=few, observer=watch)
    if not watch.step_s:
        raise ProfileError("no step of their last task could be timed: their losses are not finite")
    return StepCost(len(configs), statistics.median(watch.step_s), peak_bytes())


def few_images(task_stream: TaskStream, batch: int, *, every_task: bool = False) -> TaskStream:
    """Two tasks of about a batch, with images of every class; one image of each class to measure on.

    ``every_task``: all tasks instead of two.
    """
    *old, last = task_stream.tasks
    spans = [(0, last.first), (last.first, last.classes)] if old else [(0, last.classes)]
    if every_task:
        spans = [(task.first, task.classes) for task in task_stream.tasks]
    nothing = torch.empty(0, dtype=torch.int64)
    tasks = [
        Task(index, first, classes, _spread(task_stream.counts_C, first, classes, batch), eval_N=nothing)
        for index, (first, classes) in enumerate(spans)
    ]
    eval_counts_C = torch.tensor(task_stream.eval_counts_C)
    shown_N = (eval_counts_C.cumsum(0) - eval_counts_C)[eval_counts_C > 0]
    return replace(
        task_stream,
        tasks=tuple(tasks),
        eval_pixels_NCHW=task_stream.eval_pixels_NCHW[shown_N],
        eval_labels_N=task_stream.eval_labels_N[shown_N],
        eval_counts_C=tuple(eval_counts_C.clamp_max(1).tolist()),
    )


def _spread(counts_C: Tensor, first: int, classes: int, images: int) -> Tensor:
    """Indices of about so many images, as many of each class, one at least; a small class's come again.

    They are the last of each class: BiC sets the first ones aside.
    """
    last_C = counts_C.cumsum(0) - 1
    each = torch.arange(max(1, images // classes))
    return torch.cat([last_C[c] - each % counts_C[c] for c in range(first, first + classes) if counts_C[c] > 0])


class _Enough(Exception):
    """Raised when enough epochs have been timed."""


class StepTimer(Observer):
    """Times the epochs of the last task but its first, in which kernels are chosen and memory is taken."""

    def __init__(self, tasks: int) -> None:
        self.step_s: list[float] = []
        self._last, self._warm, self._timed_s = tasks - 1, False, 0.0

    def on_epoch(self, report: EpochReport) -> None:
        if report.task < self._last:
            return
        if self._warm:
            self.step_s.append(report.wall_s / report.steps)
            self._timed_s += report.wall_s
            if self._timed_s > _ENOUGH_S:
                raise _Enough
        self._warm = True


def _watched_peak(device: torch.device) -> Callable[[], int | None]:
    """Start measuring the peak from now on."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return lambda: torch.cuda.max_memory_reserved(device)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the kernel's mark of the peak is what is held now
    except OSError:
        return lambda: None

    def resident_peak() -> int | None:
        with open("/proc/self/status") as file:
            return next((int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM:")), None)

    return resident_peak
