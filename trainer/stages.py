"""What the loop and the methods hand to each other: a task, a stage, a step, the terms of a loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from trainer.config import OptimConfig
    from trainer.nets.heads import LinearHead

Terms = dict[str, Tensor]
"""The named losses of a step, each ``[M]``; what is minimised is the sum of all."""


@dataclass(frozen=True)
class TaskContext:
    """One task as a method sees it. K = all classes seen so far, old ones first."""

    index: int
    old: int
    """m: classes of earlier tasks"""
    new: int
    """c: classes of this task"""
    members: int
    counts_K: Tensor
    """training images of each class when it was first seen, float64, on the device"""
    kept_K: Tensor
    """images of each class at hand in this task: exemplars of old classes, all of new ones; float64"""
    hyper: Mapping[str, Tensor]
    """the method's fusable hyper-parameters by field name, each ``[M]``, on the device"""
    optim: OptimConfig
    dtype: torch.dtype
    """of features, logits and buffers"""

    @property
    def seen(self) -> int:
        """K = m + c"""
        return self.old + self.new


class Step(NamedTuple):
    """What a loss sees of one step."""

    features_MBD: Tensor
    logits_MBK: Tensor
    labels_MB: Tensor
    teacher_MBK: Tensor | None
    """logits of the frozen network of the last task, over the old classes; None in the first task"""
    task: TaskContext
    buffers: dict[str, Tensor]
    """the stage's buffers, each ``[M, ...]``; a method may update them in place"""
    head: LinearHead


@dataclass(frozen=True)
class Stage:
    """One stretch of optimisation, as data."""

    name: str
    optim: OptimConfig
    loss: Callable[[Step], Terms]
    adjust_grads: Callable[[Step], None] | None = None
    """called after the backward pass, before the optimiser"""
    buffers: dict[str, Tensor] = field(default_factory=dict)
    """what the stage's buffers start as, each ``[M, ...]``"""
