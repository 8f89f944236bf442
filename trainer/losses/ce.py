"""Softmax cross-entropy, plain."""

from torch import Tensor

from trainer.losses.base import ClassificationLoss
from trainer.losses.cross_entropy import cross_entropy


class CrossEntropy(ClassificationLoss):
    def __call__(self, logits_MBK: Tensor, labels_MB: Tensor) -> Tensor:
        return cross_entropy(logits_MBK, labels_MB)
