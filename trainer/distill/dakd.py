"""Distribution-aware knowledge distillation: distil in proportion to the data that each class has lost.

He & Zhu, "Gradient Reweighting: Towards Imbalanced Class-Incremental Learning", CVPR 2024, Eq. 7 and 8.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor

from trainer.distill.base import OldClasses, Pair
from trainer.distill.kd import PlainKD


class LostData(NamedTuple):
    """How the data lost so far is spread over the old classes."""

    balance: float
    """rho in [0, 1]: entropy of the lost data over the old classes, divided by log m; 1 = all lost alike"""
    share_m: Tensor
    """a in [0, 1]^m: normalised loss of each class"""


def lost_data(old: OldClasses) -> LostData:
    """Balance and shares of the data that the old classes have lost.

    Where nothing was lost, or there is one old class, the balance is 1, and where nothing was lost the shares are 0:
    plain distillation.
    """
    lost_m = old.counts_m - old.kept_m
    if lost_m.sum() <= 0:
        return LostData(1.0, torch.zeros_like(lost_m))
    share_m = lost_m / (lost_m.norm() if old.lost_norm == "l2" else lost_m.max())
    if len(lost_m) == 1:
        return LostData(1.0, share_m)
    d_m = (lost_m + old.entropy_smoothing) / (lost_m + old.entropy_smoothing).sum()
    return LostData(float(torch.special.entr(d_m).sum() / math.log(len(d_m))), share_m)


@dataclass(frozen=True)
class DistributionAwareKD(PlainKD):
    """``rho KD(z, zt) + (1 - rho) KD(z^, zt)`` with ``z^ = a z + (1 - a) zt``."""

    lost: LostData

    @classmethod
    def prepare(cls, old: OldClasses) -> Self:
        return cls(lost_data(old))

    def loss(self, pair: Pair) -> Tensor:
        balance, share_m = self.lost.balance, self.lost.share_m.to(pair.logits_MBm)
        return balance * super().loss(pair) + (1 - balance) * super().loss(_tempered(pair, share_m))

    def grad(self, pair: Pair) -> Tensor:
        balance, share_m = self.lost.balance, self.lost.share_m.to(pair.logits_MBm)
        return balance * super().grad(pair) + (1 - balance) * share_m * super().grad(_tempered(pair, share_m))


def _tempered(pair: Pair, share_m: Tensor) -> Pair:
    """The pair with z^ for z."""
    return pair._replace(logits_MBm=pair.teacher_MBm + share_m * (pair.logits_MBm - pair.teacher_MBm))
