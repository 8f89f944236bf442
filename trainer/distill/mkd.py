"""Multi-level logit distillation: single images, pairs of images and pairs of classes, at several temperatures.

Jin et al., "Multi-Level Logit Distillation", CVPR 2023. The paper's formulas, on the ordinary view alone: its second,
strongly augmented view and the cross-entropies that go with it would add augmentation to a comparison of losses. Its
sum over temperatures is a mean here, so that the weight of the distillation keeps its meaning.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.distill.base import Pair
from trainer.distill.kd import PlainKD


@dataclass(frozen=True)
class MultiLevelKD(PlainKD):
    """``T^2 KL(t || s) + 1/B |t t' - s s'|^2 + 1/m |t' t - s' s|^2``, mean over temperatures, s and t ``[B, m]``.

    Only the first term has the factor T^2; the others are divided by it, for the caller to multiply again.
    """

    factors: tuple[float, ...] = (1.0, 1.5, 2.0, 2.5, 3.0)
    """factors of the temperature: 2, 3, 4, 5 and 6 at the published 2"""
    relations: bool = True
    """with the terms over pairs of images and of classes"""

    def loss(self, pair: Pair) -> Tensor:
        return torch.stack([self._loss_at(factor, pair) for factor in self.factors]).mean(0)

    def grad(self, pair: Pair) -> Tensor:
        return torch.stack([self._grad_at(factor, pair) for factor in self.factors]).mean(0)

    def _loss_at(self, factor: float, pair: Pair) -> Tensor:
        at = pair._replace(temperature_M=factor * pair.temperature_M)
        loss_M = factor**2 * super().loss(at)
        if not self.relations:
            return loss_M
        student, teacher = _softened(at)
        images_M = _gap(teacher, student).square().mean(1).sum(1)
        classes_M = _gap(teacher.mT, student.mT).square().mean(1).sum(1)
        return loss_M + (images_M + classes_M) / pair.temperature_M**2

    def _grad_at(self, factor: float, pair: Pair) -> Tensor:
        at = pair._replace(temperature_M=factor * pair.temperature_M)
        grad_MBm = factor**2 * super().grad(at)
        if not self.relations:
            return grad_MBm
        student, teacher = _softened(at)
        images, old = student.shape[1:]
        upstream = _gap(teacher, student) @ student / images + student @ _gap(teacher.mT, student.mT) / old
        through_softmax = student * ((upstream * student).sum(2, keepdim=True) - upstream)
        T = pair.temperature_M[:, None, None]
        return grad_MBm + 4 / (factor * T**3) * through_softmax


def _softened(pair: Pair) -> tuple[Tensor, Tensor]:
    """Probabilities of student and teacher, ``[M, B, m]``."""
    T = pair.temperature_M[:, None, None]
    return (pair.logits_MBm / T).softmax(2), (pair.teacher_MBm / T).softmax(2)


def _gap(teacher: Tensor, student: Tensor) -> Tensor:
    """Difference of the similarities of rows: images ``[M, B, B]``, or of transposed matrices classes ``[M, m, m]``."""
    return teacher @ teacher.mT - student @ student.mT
