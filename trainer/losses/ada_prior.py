"""AdaPrior: balanced softmax whose prior is what the model itself predicts on average (Bhat, CVPR 2026)."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from trainer.losses.base import RunningLoss
from trainer.losses.cross_entropy import cross_entropy

_LEAST = 1e-12
"""of a probability whose log is taken"""


def log_floored(probability: Tensor) -> Tensor:
    """The logarithm, that of 1e-12 below it."""
    return probability.clamp_min(_LEAST).log()


@dataclass(frozen=True)
class AdaPrior(RunningLoss):
    """By name with the published rate; the prior begins each task at the class frequencies."""

    RATE = 0.05

    rate_M: Tensor
    """gamma: the part of the prior that a step renews"""
    of_adjusted: bool = False
    """whether predictions are those with the prior on the logits"""

    @classmethod
    def prepare(cls, kept_K: Tensor, members: int, dtype: torch.dtype) -> Self:
        start_MK = (kept_K / kept_K.sum()).to(dtype).repeat(members, 1)
        return cls(start_MK, kept_K.new_full((members,), cls.RATE, dtype=dtype))

    def __call__(self, logits_MBK: Tensor, labels_MB: Tensor) -> Tensor:
        return cross_entropy(logits_MBK, labels_MB, log_floored(self.kept_MK))

    def update(self, logits_MBK: Tensor, labels_MB: Tensor) -> None:
        """``(1 - rate) P + rate mean_b softmax(z_b)``."""
        if self.of_adjusted:
            logits_MBK = logits_MBK + log_floored(self.kept_MK).unsqueeze(1)
        self.kept_MK.lerp_(logits_MBK.softmax(2).mean(1), self.rate_M[:, None])
