"""Multi-level logit distillation: single images, pairs of images and pairs of classes, at several temperatures.

Jin et al., "Multi-Level Logit Distillation", CVPR 2023. The paper's formulas, on the ordinary view alone: its second,
strongly augmented view and the cross-entropies that go with it would add augmentation to a comparison of losses. Its
sum over temperatures is a mean here, so that the weight of the distillation keeps its meaning.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.distill.base import KnowledgeDistillation, Pair
from trainer.distill.kd import kd, kd_grad


@dataclass(frozen=True)
class MultiLevelKD(KnowledgeDistillation):
    """``T^2 KL(t || s) + 1/B |t t' - s s'|^2 + 1/m |t' t - s' s|^2``, mean over temperatures, s and t ``[B, m]``.

    Only the first term has the factor T^2; the others are divided by it, for the caller to multiply again.
    """

    factors: tuple[float, ...] = (1.0, 1.5, 2.0, 2.5, 3.0)
    """factors of the temperature: 2, 3, 4, 5 and 6 at the published 2"""
    relations: bool = True
    """with the terms over pairs of images and of classes"""

    def loss(self, pair: Pair) -> Tensor:
        return torch.stack([self._loss_at(factor, at) for factor, at in self._pool(pair)]).mean(0)

    def grad(self, pair: Pair) -> Tensor:
        return torch.stack([self._grad_at(factor, at) for factor, at in self._pool(pair)]).mean(0)

    def _pool(self, pair: Pair) -> Iterator[tuple[float, Pair]]:
        for factor in self.factors:
            yield factor, pair._replace(temperature_M=factor * pair.temperature_M)

    def _loss_at(self, factor: float, pair: Pair) -> Tensor:
        loss_M = factor**2 * kd(pair.logits_MBm, pair.teacher_MBm, pair.temperature_M)
        if not self.relations:
            return loss_M
        student, teacher = _softened(pair)
        images_M = _by_image(teacher, student).square().mean(1).sum(1)
        classes_M = _by_class(teacher, student).square().mean(1).sum(1)
        return loss_M + (factor / pair.temperature_M) ** 2 * (images_M + classes_M)

    def _grad_at(self, factor: float, pair: Pair) -> Tensor:
        grad_MBm = factor**2 * kd_grad(pair.logits_MBm, pair.teacher_MBm, pair.temperature_M)
        if not self.relations:
            return grad_MBm
        student, teacher = _softened(pair)
        images, old = student.shape[1:]
        upstream = _by_image(teacher, student) @ student / images + student @ _by_class(teacher, student) / old
        through_softmax = student * ((upstream * student).sum(2, keepdim=True) - upstream)
        T = pair.temperature_M[:, None, None]
        return grad_MBm + 4 * (factor / T) ** 2 / T * through_softmax


def _softened(pair: Pair) -> tuple[Tensor, Tensor]:
    """Probabilities of student and teacher, ``[M, B, m]``."""
    T = pair.temperature_M[:, None, None]
    return (pair.logits_MBm / T).softmax(2), (pair.teacher_MBm / T).softmax(2)


def _by_image(teacher_MBm: Tensor, student_MBm: Tensor) -> Tensor:
    """Difference of the similarities of images, ``[M, B, B]``."""
    return teacher_MBm @ teacher_MBm.transpose(1, 2) - student_MBm @ student_MBm.transpose(1, 2)


def _by_class(teacher_MBm: Tensor, student_MBm: Tensor) -> Tensor:
    """Difference of the similarities of classes, ``[M, m, m]``."""
    return teacher_MBm.transpose(1, 2) @ teacher_MBm - student_MBm.transpose(1, 2) @ student_MBm
