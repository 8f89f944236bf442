"""Decomposed knowledge distillation: also what speaks for a class, and what against it, each by itself.

Baek et al., "Decomposed Knowledge Distillation for Class-Incremental Semantic Segmentation", NeurIPS 2022, there called
DKD. Softened softmax instead of its sigmoids: the parts are large and of one sign, where a sigmoid has no gradient.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from trainer.distill.base import HeadGrad, Pair
from trainer.distill.kd import PlainKD, kd, kd_grad


@dataclass(frozen=True)
class DecomposedKD(PlainKD):
    """Mean of ``kd`` of z, z+ and z-, where ``z+_j = sum_d max(w_jd x_d, 0)`` and ``z-_j = sum_d min(w_jd x_d, 0)``."""

    parts: bool = True
    """False: of z alone"""

    def loss(self, pair: Pair) -> Tensor:
        loss_M = super().loss(pair)
        if not self.parts:
            return loss_M
        for own, wanted in _contributions(pair):
            loss_M = loss_M + kd(own, wanted, pair.temperature_M)
        return loss_M / 3

    def grad(self, pair: Pair) -> Tensor:
        return super().grad(pair) / (3 if self.parts else 1)

    def at_head(self, pair: Pair) -> HeadGrad:
        """The parts reach the rows directly, each entry of a row through the part that its sign sends it to."""
        through_logits = super().at_head(pair)
        if not self.parts:
            return through_logits
        of_positive, of_negative = (
            kd_grad(own, wanted, pair.temperature_M).transpose(1, 2) / 3 for own, wanted in _contributions(pair)
        )
        assert pair.weight_MmD is not None
        positive, negative = _signed(pair.features_MBD.detach())
        where_positive = of_positive @ positive + of_negative @ negative
        where_negative = of_positive @ negative + of_negative @ positive
        direct = where_positive * (pair.weight_MmD > 0) + where_negative * (pair.weight_MmD < 0)
        return HeadGrad(through_logits.weight_MmD + direct, through_logits.bias_Mm)


def _contributions(pair: Pair) -> Iterator[tuple[Tensor, Tensor]]:
    """z+ of student and teacher, then z- of both, each ``[M, B, m]``."""
    if pair.weight_MmD is None or pair.teacher_weight_MmD is None:
        raise TypeError("dpkd splits logits by the rows of a linear head, and there is none")
    student = _split(pair.features_MBD, pair.weight_MmD)
    teacher = _split(pair.teacher_features_MBD, pair.teacher_weight_MmD)
    return zip(student, teacher, strict=True)


def _split(features_MBD: Tensor, weight_MmD: Tensor) -> tuple[Tensor, Tensor]:
    # A product is positive where both signs agree: no product has to be formed by itself.
    x_pos, x_neg = _signed(features_MBD)
    w_pos, w_neg = _signed(weight_MmD.transpose(1, 2))
    return x_pos @ w_pos + x_neg @ w_neg, x_pos @ w_neg + x_neg @ w_pos


def _signed(values: Tensor) -> tuple[Tensor, Tensor]:
    """The part >= 0 and the part <= 0, whose sum is the tensor."""
    return F.relu(values), -F.relu(-values)
