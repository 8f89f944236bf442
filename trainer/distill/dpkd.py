"""Decomposed knowledge distillation: also what speaks for a class, and what against it, each by itself.

Baek et al., "Decomposed Knowledge Distillation for Class-Incremental Semantic Segmentation", NeurIPS 2022, there called
DKD. Softened softmax instead of its sigmoids: the parts are large and of one sign, where a sigmoid has no gradient.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from trainer.distill.base import HeadGrad, KnowledgeDistillation, Pair
from trainer.distill.kd import kd, kd_grad


class _Signed(NamedTuple):
    """A tensor as a sum of a part >= 0 and a part <= 0."""

    positive: Tensor
    negative: Tensor


@dataclass(frozen=True)
class DecomposedKD(KnowledgeDistillation):
    """Mean of ``kd`` of z, z+ and z-, where ``z+_j = sum_d max(w_jd x_d, 0)`` and ``z-_j = sum_d min(w_jd x_d, 0)``."""

    parts: bool = True
    """False: of z alone"""

    def loss(self, pair: Pair) -> Tensor:
        loss_M = kd(pair.logits_MBm, pair.teacher_MBm, pair.temperature_M)
        if not self.parts:
            return loss_M
        student, teacher = _contributions(pair)
        for own, wanted in zip(student, teacher, strict=True):
            loss_M = loss_M + kd(own, wanted, pair.temperature_M)
        return loss_M / 3

    def grad(self, pair: Pair) -> Tensor:
        return kd_grad(pair.logits_MBm, pair.teacher_MBm, pair.temperature_M) / (3 if self.parts else 1)

    def at_head(self, pair: Pair) -> HeadGrad:
        """The parts reach the rows directly, each entry of a row through the part that its sign sends it to."""
        through_logits = super().at_head(pair)
        if not self.parts:
            return through_logits
        assert pair.weight_MmD is not None
        x, (student, teacher) = _signed(pair.features_MBD.detach()), _contributions(pair)
        of_positive, of_negative = (
            kd_grad(own, wanted, pair.temperature_M).transpose(1, 2) / 3
            for own, wanted in zip(student, teacher, strict=True)
        )
        where_positive = of_positive @ x.positive + of_negative @ x.negative
        where_negative = of_positive @ x.negative + of_negative @ x.positive
        direct = where_positive * (pair.weight_MmD > 0) + where_negative * (pair.weight_MmD < 0)
        return HeadGrad(through_logits.weight_MmD + direct, through_logits.bias_Mm)


def _signed(values: Tensor) -> _Signed:
    return _Signed(F.relu(values), -F.relu(-values))


def _contributions(pair: Pair) -> tuple[_Signed, _Signed]:
    """z+ and z- of student and teacher, each ``[M, B, m]``."""
    if pair.weight_MmD is None or pair.teacher_weight_MmD is None:
        raise TypeError("dpkd splits logits by the rows of a linear head, and there is none")
    return (
        _split(pair.features_MBD, pair.weight_MmD),
        _split(pair.teacher_features_MBD, pair.teacher_weight_MmD),
    )


def _split(features_MBD: Tensor, weight_MmD: Tensor) -> _Signed:
    # A product is positive where both signs agree: no product has to be formed by itself.
    x, w = _signed(features_MBD), _signed(weight_MmD.transpose(1, 2))
    return _Signed(x.positive @ w.positive + x.negative @ w.negative, x.positive @ w.negative + x.negative @ w.positive)
