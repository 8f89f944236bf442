"""Label-distribution-aware margins: the rarer a class, the farther its images must be from the boundary.

Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss", NeurIPS 2019, Eq. 13.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.losses.class_weights import of_labels, weighted_mean
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
    return ce_MB.mean(1) if weights_MK is None else weighted_mean(ce_MB, of_labels(weights_MK, labels_MB), "weights")
