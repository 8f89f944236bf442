"""Softmax cross-entropy, plain."""

from typing import Self

import torch
from torch import Tensor

from trainer.losses.base import ClassificationLoss
from trainer.losses.cross_entropy import cross_entropy


class CrossEntropy(ClassificationLoss):
    @classmethod
    def prepare(cls, kept_K: Tensor, members: int, dtype: torch.dtype) -> Self:
        return cls()

    def __call__(self, logits_MBK: Tensor, labels_MB: Tensor) -> Tensor:
        return cross_entropy(logits_MBK, labels_MB)
