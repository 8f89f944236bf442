"""Label-distribution-aware margins: the rarer a class, the farther its images must be from the boundary.

Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss", NeurIPS 2019, Eq. 13.
"""

from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.losses.base import ClassificationLoss
from trainer.losses.class_weights import weighted_mean
from trainer.losses.cross_entropy import image_cross_entropy


def margins(counts_K: Tensor, largest_M: Tensor) -> Tensor:
    """``largest * (n_min / n_k)**(1/4)`` over the classes with images, 0 for others: ``[M, K]``, float64."""
    counts_K = counts_K.double()
    present_K = counts_K > 0
    least = torch.where(present_K, counts_K, torch.inf).min()
    shape_K = torch.where(present_K, (least / counts_K.clamp_min(1)) ** 0.25, 0)
    return largest_M.double()[:, None] * shape_K


def ldam(
    cosines_MBK: Tensor, labels_MB: Tensor, margins_MK: Tensor, scale_M: Tensor, weights_MK: Tensor | None = None
) -> Tensor:
    """Cross-entropy of ``scale * (cosine - margin at the label)``, weighted by class over the weights' sum, ``[M]``."""
    at_label_MBK = F.one_hot(labels_MB, cosines_MBK.shape[2]).to(cosines_MBK) * margins_MK.unsqueeze(1)
    ce_MB = image_cross_entropy(scale_M[:, None, None] * (cosines_MBK - at_label_MBK), labels_MB)
    return ce_MB.mean(1) if weights_MK is None else weighted_mean(ce_MB, weights_MK.gather(1, labels_MB))


@dataclass(frozen=True)
class Ldam(ClassificationLoss):
    """Margins on the logits of any head: those of cosines, times the published scale, so that logits need none."""

    MARGIN = 0.5
    """of the rarest class, in cosine"""
    SCALE = 30.0

    margins_MK: Tensor
    one_M: Tensor

    @classmethod
    def prepare(cls, kept_K: Tensor, members: int, dtype: torch.dtype) -> Self:
        largest_M = kept_K.new_full((members,), cls.SCALE * cls.MARGIN)
        return cls(margins(kept_K, largest_M).to(dtype), torch.ones_like(largest_M, dtype=dtype))

    def __call__(self, logits_MBK: Tensor, labels_MB: Tensor) -> Tensor:
        return ldam(logits_MBK, labels_MB, self.margins_MK, self.one_M)
