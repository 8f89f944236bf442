"""Temporal-adjusted loss: a class that was not shown for long counts less as a wrong answer.

Ma & Zhu, CVPR 2026. Each class has a score that rises with its images and decays with the steps; the weight of a class
in the softmax's denominators, where it is not the label, is a power of the score.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.losses.base import RunningLoss
from trainer.losses.cross_entropy import image_cross_entropy

Decay = Literal["normalized", "vanilla"]
"""by how much a class's score falls where it is not the label: its weight over the other classes, or its weight"""
_LOG_LEAST = math.log(1e-12)
"""of a weight"""
_LOWEST, _HALVINGS = -700.0, 64
"""of the logarithm of a share, that float64 still has; of the interval below 0"""


def _pull(classes: int, decay: Decay) -> float:
    """What a weight is multiplied by before it lowers a score."""
    return 1 / max(classes - 1, 1) if decay == "normalized" else 1.0


def log_rest(classes: int, steepness_M: Tensor, decay: Decay) -> Tensor:
    """Log of the share of its largest score at which a class rests if all are equally frequent, ``[M]``, float64.

    The root in (0, 1] of ``(1 - 1/K) g x**r + x - 1/K``, which rises: by bisection.
    """
    steepness_M, pull = steepness_M.double(), (1 - 1 / classes) * _pull(classes, decay)
    low_M, high_M = torch.full_like(steepness_M, _LOWEST), torch.zeros_like(steepness_M)
    for _ in range(_HALVINGS):
        middle_M = (low_M + high_M) / 2
        above_M = pull * (steepness_M * middle_M).exp() + middle_M.exp() > 1 / classes
        low_M, high_M = torch.where(above_M, low_M, middle_M), torch.where(above_M, middle_M, high_M)
    return high_M


def adjusted_cross_entropy(logits_MBK: Tensor, labels_MB: Tensor, log_weight_MK: Tensor) -> Tensor:
    """``mean_b [log(exp z_y + sum_{k != y} w_k exp z_k) - z_y]``, per member ``[M]``."""
    is_label_MBK = F.one_hot(labels_MB, logits_MBK.shape[2]).bool()
    adjustment_MBK = log_weight_MK.unsqueeze(1).masked_fill(is_label_MBK, 0)
    return image_cross_entropy(logits_MBK + adjustment_MBK, labels_MB).mean(1)


@dataclass(frozen=True)
class Tal(RunningLoss):
    """By name with the decay and the steepness of the paper's best row; scores begin at 0."""

    MEMORY = 0.995
    STEEPNESS = 1.0
    continues: ClassVar[bool] = True

    memory_M: Tensor
    """lambda: the part of a score that is left after a step"""
    steepness_M: Tensor
    """r: the power of a score"""
    log_rest_M: Tensor
    """of ``log_rest``, which is given the weight 1; 0: the largest score has it"""
    pull: float

    @classmethod
    def prepare(cls, kept_K: Tensor, members: int, dtype: torch.dtype) -> Self:
        memory_M, steepness_M = (kept_K.new_full((members,), value) for value in (cls.MEMORY, cls.STEEPNESS))
        return cls.of(len(kept_K), memory_M, steepness_M, dtype)

    @classmethod
    def of(
        cls,
        classes: int,
        memory_M: Tensor,
        steepness_M: Tensor,
        dtype: torch.dtype,
        decay: Decay = "normalized",
        *,
        align: bool = True,
        at_rest: bool = False,
    ) -> Self:
        """``align``: weights are 1 where all classes are at rest; ``at_rest``: new classes begin there, not at 0."""
        log_rest_M = log_rest(classes, steepness_M, decay)
        largest_M = memory_M.double() / (1 - memory_M.double())
        start_M = log_rest_M.exp() * largest_M if at_rest else torch.zeros_like(largest_M)
        return cls(
            start_M[:, None].repeat(1, classes).to(dtype),
            memory_M.to(dtype),
            steepness_M.to(dtype),
            (log_rest_M if align else torch.zeros_like(log_rest_M)).to(dtype),
            _pull(classes, decay),
        )

    def __call__(self, logits_MBK: Tensor, labels_MB: Tensor) -> Tensor:
        return adjusted_cross_entropy(logits_MBK, labels_MB, self.log_weight_MK())

    def log_weight_MK(self) -> Tensor:
        """Log of the weights of wrong answers, aligned, at least 1e-12."""
        log_share_MK = self._share_MK().log() - self.log_rest_M[:, None]
        return (self.steepness_M[:, None] * log_share_MK).clamp_min(_LOG_LEAST)

    def update(self, logits_MBK: Tensor, labels_MB: Tensor) -> None:
        """Scores rise by a class's part of the batch, fall by its weight as a wrong answer, and decay."""
        part_MK = F.one_hot(labels_MB, self.kept_MK.shape[1]).to(self.kept_MK).mean(1)
        fall_MK = self.pull * (1 - part_MK) * self._share_MK() ** self.steepness_M[:, None]
        self.kept_MK.copy_(self.memory_M[:, None] * (self.kept_MK + part_MK - fall_MK))

    def _share_MK(self) -> Tensor:
        """Scores over the largest that there can be."""
        return self.kept_MK.clamp_min(0) * ((1 - self.memory_M) / self.memory_M)[:, None]
