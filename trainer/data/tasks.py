"""From a source to a stream of tasks: class order, validation split, long tail, hold-out, tasks."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from trainer.data import host_pixels, long_tail, splits
from trainer.data.config import ClassOrder, DataConfig, Protocol
from trainer.data.host_pixels import HostPixels, Pixels
from trainer.data.images import ImageSet, Source
from trainer.data.long_tail import Indices
from trainer.data.sources import load
from trainer.errors import ConfigError
from trainer.words import NOTE


@dataclass(frozen=True)
class Task:
    """The classes learnt together: a contiguous range of positions in the class order."""

    index: int
    first: int
    classes: int
    train_N: Tensor
    """int64, indices into ``TaskStream.train_pixels_NCHW``"""
    eval_N: Tensor
    """int64, indices into ``TaskStream.eval_pixels_NCHW``"""


@dataclass(frozen=True)
class TaskStream:
    """Everything a run trains and is measured on. Labels are positions in the class order."""

    train_pixels_NCHW: Pixels
    """uint8, channels last; only the images that are trained on"""
    train_labels_N: Tensor
    """int64, rising"""
    eval_pixels_NCHW: Pixels
    eval_labels_N: Tensor
    tasks: tuple[Task, ...]
    counts_C: Tensor
    """int64, training images by position, after tail and hold-out"""
    eval_counts_C: tuple[int, ...]
    class_ids_C: tuple[int, ...]
    """the data set's label at each position"""
    class_names_C: tuple[str, ...]
    fingerprint: str
    said: tuple[str, ...] = ()
    """a line about each choice of images that the data set itself does not make"""

    def to(self, device: torch.device) -> Self:
        """With every tensor on the device, but for images that it has no memory for."""
        tasks = tuple(replace(t, train_N=t.train_N.to(device), eval_N=t.eval_N.to(device)) for t in self.tasks)
        moved: dict[str, Any] = {
            name: value.to(device)
            for name, value in vars(self).items()
            if isinstance(value, Tensor) and "pixels" not in name
        }
        for name in ("train_pixels_NCHW", "eval_pixels_NCHW"):
            moved[name] = host_pixels.moved(getattr(self, name), device)
            if moved[name] is not getattr(self, name):
                _say_where(moved[name], str(device))
        return replace(self, tasks=tasks, **moved)


def task_sizes(classes: int, protocol: Protocol) -> tuple[int, ...]:
    """Classes of each task: the first by kind or ``protocol.first_task_classes``, the rest evenly, earlier tasks more.

    Raises ConfigError naming ``protocol.tasks`` or ``protocol.first_task_classes`` where a task would have no class.
    """
    scratch = protocol.kind == "lfs"
    later = protocol.tasks - 1 if scratch else protocol.tasks
    first = protocol.first_task_classes or math.ceil(classes / (protocol.tasks if scratch else 2))
    rest = classes - first
    if protocol.first_task_classes is None and later > rest:
        raise ConfigError(
            f"more tasks ({protocol.tasks}) than {classes} classes make",
            field="protocol.tasks",
            allowed=f"1 to {classes if scratch else rest}",
        )
    if later > rest or (rest and not later):
        raise ConfigError(
            f"{first} of {classes} classes first do not leave {later} later tasks a class each",
            field="protocol.first_task_classes",
            allowed=f"1 to {classes - later}" if later else f"{classes}",
        )
    each, left = divmod(rest, max(later, 1))
    return (first, *(each + (i < left) for i in range(later)))


def class_order(classes: int, order: ClassOrder) -> tuple[int, ...]:
    """The label at each position: as given, or NumPy's legacy permutation of the seed, or the labels' own order."""
    if order.classes is not None:
        if sorted(order.classes) != list(range(classes)):
            raise ConfigError(
                "does not hold every class once", field="protocol.class_order.classes", allowed=f"0 to {classes - 1}"
            )
        return order.classes
    if order.seed is None:
        return tuple(range(classes))
    return tuple(int(label) for label in np.random.RandomState(order.seed).permutation(classes))


def build(data: DataConfig, protocol: Protocol) -> TaskStream:
    """Load the data set and cut it into tasks. Raises DataError or ConfigError naming the field."""
    return cut(load(data), data, protocol)


def cut(source: Source, data: DataConfig, protocol: Protocol) -> TaskStream:
    """The tasks of images that are loaded. Raises as ``build`` does."""
    classes = len(source.class_names)
    order_C = class_order(classes, protocol.class_order)
    sizes = _trained_sizes(task_sizes(classes, protocol), protocol)
    check_crop(source, data)
    apart = splits.split(source, data.evaluation)
    available = sum(map(len, apart.train_C))
    train_C = trained(apart.train_C, order_C, data)
    kept = sum(map(len, train_C))
    order_C = order_C[: sum(sizes)]
    counts_C, eval_counts_C = (
        [len(indices_C[label]) for label in order_C] for indices_C in (train_C, apart.measured_C)
    )
    tasks = []
    for index, (first, stop) in enumerate(pairwise(accumulate(sizes, initial=0))):
        train_N, eval_N = (torch.arange(sum(n[:first]), sum(n[:stop])) for n in (counts_C, eval_counts_C))
        tasks.append(Task(index, first, stop - first, train_N, eval_N))
    train_pixels = _pixels(source.train, train_C, order_C)
    eval_pixels = _pixels(apart.measured, apart.measured_C, order_C)
    for pixels in (train_pixels, eval_pixels):
        _say_where(pixels, "this machine")
    return TaskStream(
        train_pixels_NCHW=train_pixels,
        train_labels_N=torch.repeat_interleave(torch.tensor(counts_C)),
        eval_pixels_NCHW=eval_pixels,
        eval_labels_N=torch.repeat_interleave(torch.tensor(eval_counts_C)),
        tasks=tuple(tasks),
        counts_C=torch.tensor(counts_C),
        eval_counts_C=tuple(eval_counts_C),
        class_ids_C=order_C,
        class_names_C=tuple(source.class_names[label] for label in order_C),
        fingerprint=source.fingerprint,
        said=(*apart.said, *_left_out(available, kept)),
    )


def _trained_sizes(sizes: tuple[int, ...], protocol: Protocol) -> tuple[int, ...]:
    """The sizes of the tasks that are trained. Raises ConfigError where there are fewer than it is to stop after."""
    if protocol.stop_after is not None and protocol.stop_after > len(sizes):
        raise ConfigError(
            f"there are only {len(sizes)} tasks", field="protocol.stop_after", allowed=f"1 to {len(sizes)}, or null"
        )
    return sizes[: protocol.stop_after]


def check_crop(source: Source, data: DataConfig) -> None:
    """Raises ConfigError for a crop that is larger than the images."""
    height, width = source.train.pixels_NHWC.shape[1:3]
    if min(height, width) < data.crop:
        raise ConfigError(
            f"{data.crop} pixels are more than the images have ({width}x{height})",
            field="data.crop",
            allowed=f"up to {min(height, width)}, or a larger data.resize",
        )


def trained(available_C: list[Indices], order_C: Sequence[int], data: DataConfig) -> list[Indices]:
    """The images of each label that are trained on: those available, after the tail is cut and the hold-out."""
    tail_C = long_tail.tail_counts([len(index_n) for index_n in available_C], order_C, data.imbalance)
    train_C = long_tail.kept(available_C, tail_C, data.imbalance)
    return splits.without(train_C, splits.holdout(train_C, data.holdout_fraction, data.imbalance.seed))


def _left_out(available: int, kept: int) -> tuple[str, ...]:
    if kept == available:
        return ()
    return (f"training: {kept} of {available} images; data.imbalance and data.holdout_fraction leave out the rest",)


def _pixels(images: ImageSet, indices_C: list[Indices], order_C: Sequence[int]) -> Pixels:
    """The images class by class in the class order, ``[N, C, H, W]`` in channels-last memory."""
    index_N = np.concatenate([indices_C[label] for label in order_C])
    found = HostPixels(images.pixels_NHWC, index_N)
    if found.shape.numel() > host_pixels.SHARE * host_pixels.free_bytes(torch.device("cpu")):
        return found
    return torch.from_numpy(np.asarray(images.pixels_NHWC[index_N])).permute(0, 3, 1, 2)


def _say_where(pixels: Pixels, where: str) -> None:
    if isinstance(pixels, HostPixels):
        size = f"{len(pixels.rows_N)} images, {pixels.shape.numel() / 1e9:.2g} GB"
        print(
            f"{NOTE}{size}, take more than {host_pixels.SHARE:.0%} of the memory that is free on {where}: they are "
            "read batch by batch, which is slower; a smaller data.resize avoids it",
            file=sys.stderr,
        )
