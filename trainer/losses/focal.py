"""Focal loss on the softmax: images that are classified well count less (Lin et al., ICCV 2017)."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from trainer.losses.base import ClassificationLoss
from trainer.losses.cross_entropy import image_cross_entropy

_LEAST = 1e-12
"""below it 1 - p is taken as this: its power less than 1 has no slope at 0"""


def focal(logits_MBK: Tensor, labels_MB: Tensor, gamma_M: Tensor) -> Tensor:
    """``-(1/B) sum_b (1 - p_b)**gamma log p_b`` with p the label's probability, per member ``[M]``."""
    ce_MB = image_cross_entropy(logits_MBK, labels_MB)
    return (focal_factor(ce_MB, gamma_M) * ce_MB).mean(1)


def focal_factor(ce_MB: Tensor, gamma_M: Tensor) -> Tensor:
    """``(1 - p)**gamma`` from ``ce = -log p``, ``[M, B]``."""
    return (-torch.expm1(-ce_MB)).clamp_min(_LEAST) ** gamma_M[:, None]


@dataclass(frozen=True)
class Focal(ClassificationLoss):
    """``focal`` with gamma 1, which long-tailed recognition uses."""

    GAMMA = 1.0

    gamma_M: Tensor

    @classmethod
    def prepare(cls, kept_K: Tensor, members: int, dtype: torch.dtype) -> Self:
        return cls(kept_K.new_full((members,), cls.GAMMA, dtype=dtype))

    def __call__(self, logits_MBK: Tensor, labels_MB: Tensor) -> Tensor:
        return focal(logits_MBK, labels_MB, self.gamma_M)
