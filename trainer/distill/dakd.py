"""Distribution-aware knowledge distillation: distil in proportion to the data that each class has lost.

He & Zhu, "Gradient Reweighting: Towards Imbalanced Class-Incremental Learning", CVPR 2024, Eq. 7 and 8.
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

import torch
from torch import Tensor

from trainer.distill.base import KnowledgeDistillation, OldClasses, Pair
from trainer.distill.kd import kd, kd_grad


class LostData(NamedTuple):
    """How the data lost so far is spread over the old classes."""

    balance: float
    """rho in [0, 1]: entropy of the lost data over the old classes, divided by log m; 1 = all lost alike"""
    share_m: Tensor
    """a in [0, 1]^m: normalised loss of each class"""


def lost_data(
    counts_m: Tensor, kept_m: Tensor, *, smoothing: float = 0.001, norm: Literal["l2", "max"] = "l2"
) -> LostData:
    """Balance and shares of the data lost by m old classes.

    ``counts_m``: images when each class was learnt; ``kept_m``: exemplars of it now; ``smoothing``: images
    added to each class's loss inside the entropy alone. Where nothing was lost, or there is one old class,
    the balance is 1, and where nothing was lost the shares are 0: plain distillation.
    """
    lost_m = counts_m - kept_m
    if lost_m.sum() <= 0:
        return LostData(1.0, torch.zeros_like(lost_m))
    share_m = lost_m / lost_m.norm() if norm == "l2" else lost_m / lost_m.max()
    if len(lost_m) == 1:
        return LostData(1.0, share_m)
    d_m = (lost_m + smoothing) / (lost_m + smoothing).sum()
    return LostData(float(torch.special.entr(d_m).sum() / math.log(len(d_m))), share_m)


def dakd(logits_MBm: Tensor, teacher_MBm: Tensor, temperature_M: Tensor, lost: LostData) -> Tensor:
    """``rho KD(z, zt) + (1 - rho) KD(z^, zt)`` with ``z^ = a z + (1 - a) zt``, per member ``[M]``."""
    tempered = teacher_MBm + lost.share_m.to(logits_MBm) * (logits_MBm - teacher_MBm)
    balanced = kd(logits_MBm, teacher_MBm, temperature_M)
    return lost.balance * balanced + (1 - lost.balance) * kd(tempered, teacher_MBm, temperature_M)


def dakd_grad(logits_MBm: Tensor, teacher_MBm: Tensor, temperature_M: Tensor, lost: LostData) -> Tensor:
    """Gradient of ``dakd`` in the student's logits, ``[M, B, m]``."""
    share_m = lost.share_m.to(logits_MBm)
    tempered = teacher_MBm + share_m * (logits_MBm - teacher_MBm)
    balanced = kd_grad(logits_MBm, teacher_MBm, temperature_M)
    return lost.balance * balanced + (1 - lost.balance) * share_m * kd_grad(tempered, teacher_MBm, temperature_M)


@dataclass(frozen=True)
class DistributionAwareKD(KnowledgeDistillation):
    """``dakd`` of the logits."""

    lost: LostData

    @classmethod
    def prepare(cls, old: OldClasses) -> Self:
        return cls(lost_data(old.counts_m, old.kept_m, smoothing=old.entropy_smoothing, norm=old.lost_norm))

    def loss(self, pair: Pair) -> Tensor:
        return dakd(pair.logits_MBm, pair.teacher_MBm, pair.temperature_M, self.lost)

    def grad(self, pair: Pair) -> Tensor:
        return dakd_grad(pair.logits_MBm, pair.teacher_MBm, pair.temperature_M, self.lost)
