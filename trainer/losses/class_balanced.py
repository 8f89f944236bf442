"""Cross-entropy weighted by the effective number of each class's images (Cui et al., CVPR 2019, softmax form)."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from trainer.losses.base import ClassificationLoss
from trainer.losses.class_weights import effective_number_weights
from trainer.losses.cross_entropy import image_cross_entropy


@dataclass(frozen=True)
class ClassBalanced(ClassificationLoss):
    BETA = 0.9999

    weights_MK: Tensor

    @classmethod
    def prepare(cls, kept_K: Tensor, members: int, dtype: torch.dtype) -> Self:
        return cls(effective_number_weights(kept_K, kept_K.new_full((members,), cls.BETA)).to(dtype))

    def __call__(self, logits_MBK: Tensor, labels_MB: Tensor) -> Tensor:
        return (self.weights_MK.gather(1, labels_MB) * image_cross_entropy(logits_MBK, labels_MB)).mean(1)
