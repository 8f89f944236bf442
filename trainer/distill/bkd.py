"""Balanced knowledge distillation: a teacher that is reweighted towards classes with few images.

Zhang et al., "Balanced Knowledge Distillation for Long-tailed Learning", Neurocomputing 2023. A student that equals its
teacher does not stand still: the tail is pushed up.
"""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from trainer.distill.base import OldClasses, Pair
from trainer.distill.kd import PlainKD

BETA = 0.9999
"""beta of the effective number of images, as published for CIFAR-100"""


@dataclass(frozen=True)
class BalancedKD(PlainKD):
    """``kd`` with teacher probabilities ``omega_j t_j / sum_k omega_k t_k``."""

    log_omega_m: Tensor
    """log of omega, up to a constant, which cancels"""

    @classmethod
    def prepare(cls, old: OldClasses) -> Self:
        """omega = 1 / effective number of the images that the class was learnt from."""
        # expm1: 1 - beta^n is small where n is, and most of its digits would be lost.
        return cls(-(-torch.expm1(old.counts_m * math.log(BETA))).log())

    def loss(self, pair: Pair) -> Tensor:
        return super().loss(self._reweighted(pair))

    def grad(self, pair: Pair) -> Tensor:
        return super().grad(self._reweighted(pair))

    def _reweighted(self, pair: Pair) -> Pair:
        log_omega_m = self.log_omega_m.to(pair.teacher_MBm)
        return pair._replace(teacher_MBm=pair.teacher_MBm + pair.temperature_M[:, None, None] * log_omega_m)
