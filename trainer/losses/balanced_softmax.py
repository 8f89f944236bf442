"""Balanced softmax: cross-entropy with the log prior of the classes on the logits (Ren et al., NeurIPS 2020).

A class without images is left out of the softmax. Classification does not know of the prior.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from trainer.losses.base import ClassificationLoss
from trainer.losses.cross_entropy import cross_entropy, log_prior


@dataclass(frozen=True)
class BalancedSoftmax(ClassificationLoss):
    prior_MK: Tensor

    @classmethod
    def prepare(cls, kept_K: Tensor, members: int, dtype: torch.dtype) -> Self:
        return cls(log_prior(kept_K).to(dtype).expand(members, -1))

    def __call__(self, logits_MBK: Tensor, labels_MB: Tensor) -> Tensor:
        return cross_entropy(logits_MBK, labels_MB, self.prior_MK)
