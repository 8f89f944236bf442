"""Decoupled knowledge distillation: how sure of the target, and how the rest is spread, weighted apart.

Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022, there called DKD. Without its warm-up: a student that starts
as its teacher has nothing to warm up for, and would forget meanwhile. An image of a new class has no target among the
old classes: all of them are its rest, the formula's own limit.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from trainer.distill.base import KnowledgeDistillation, Pair

_NOTHING = -1e30
"""a logit of no probability at all; finite, so that zero times it is zero"""


class _Parts(NamedTuple):
    """Probabilities of one network, softened: of the target, and of the classes given that it is not the target."""

    target_MB: Tensor
    log_target_MB: Tensor
    rest_MB: Tensor
    log_rest_MB: Tensor
    within_MBm: Tensor
    """0 at the target"""
    log_within_MBm: Tensor


@dataclass(frozen=True)
class DecoupledKD(KnowledgeDistillation):
    """``alpha`` KL(target or not) + ``beta`` KL(classes that are not the target)."""

    alpha: float = 1.0
    beta: float | Tensor = 2.0
    """a number, or one an image ``[M, B]``; 2 is the published one for thin networks on CIFAR-100"""

    def loss(self, pair: Pair) -> Tensor:
        old_MB, student, teacher = self._parts(pair)
        target_MB = -(teacher.target_MB * student.log_target_MB + teacher.rest_MB * student.log_rest_MB)
        rest_MB = -(teacher.within_MBm * student.log_within_MBm).sum(2)
        return (self.alpha * old_MB * target_MB + self.beta * rest_MB).mean(1)

    def grad(self, pair: Pair) -> Tensor:
        old_MB, student, teacher = self._parts(pair)
        # e_y - s: what raises the target and lowers each other class by its share of the rest.
        towards_target = _targets(pair).to(student.within_MBm) - student.within_MBm
        surer_MB = self.alpha * old_MB * (student.target_MB - teacher.target_MB)
        beta = self.beta.unsqueeze(2) if isinstance(self.beta, Tensor) else self.beta
        spread = beta * (student.within_MBm - teacher.within_MBm)
        T = pair.temperature_M[:, None, None]
        return (surer_MB.unsqueeze(2) * towards_target + spread) / (T * surer_MB.shape[1])

    def _parts(self, pair: Pair) -> tuple[Tensor, _Parts, _Parts]:
        """Which images have a target, and the parts of student and teacher."""
        target_MBm, T = _targets(pair), pair.temperature_M[:, None, None]
        student, teacher = (_split(z / T, target_MBm) for z in (pair.logits_MBm, pair.teacher_MBm))
        return target_MBm.any(2), student, teacher


def _targets(pair: Pair) -> Tensor:
    """Where the label is: one old class of an image of an old class, none of a new one. ``[M, B, m]``"""
    return pair.labels_MB.unsqueeze(2) == torch.arange(pair.logits_MBm.shape[2], device=pair.labels_MB.device)


def _split(logits_MBm: Tensor, target_MBm: Tensor) -> _Parts:
    log_p = logits_MBm.log_softmax(2)
    log_target_MB = torch.where(target_MBm, log_p, 0).sum(2)
    log_rest_MB = log_p.masked_fill(target_MBm, _NOTHING).logsumexp(2)
    log_within = logits_MBm.masked_fill(target_MBm, _NOTHING).log_softmax(2)
    return _Parts(log_target_MB.exp(), log_target_MB, log_rest_MB.exp(), log_rest_MB, log_within.exp(), log_within)
