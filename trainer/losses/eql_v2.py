"""Equalization loss v2: each class's positive and negative gradients are kept in balance.

Tan et al., "Equalization Loss v2: A New Gradient Balance Approach for Long-tailed Object Detection", CVPR 2021, for
classification: K sigmoids without a background.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def gates(ratio_MK: Tensor, slope_M: Tensor, centre_M: Tensor, gain_M: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of positive and negative gradients, ``[M, K]``: ``1 + gain (1 - f)`` and ``f``.

    f is ``sigmoid(slope (ratio - centre))`` of the ratio of what was accumulated of both (Eq. 7 to 9).
    """
    f_MK = torch.sigmoid(slope_M[:, None] * (ratio_MK - centre_M[:, None]))
    return 1 + gain_M[:, None] * (1 - f_MK), f_MK


def eql_v2(logits_MBK: Tensor, labels_MB: Tensor, positive_MK: Tensor, negative_MK: Tensor) -> Tensor:
    """Binary cross-entropy with those weights, summed over classes, mean over images, ``[M]``."""
    y_MBK = F.one_hot(labels_MB, logits_MBK.shape[2]).to(logits_MBK)
    weight_MBK = torch.where(y_MBK > 0, positive_MK.unsqueeze(1), negative_MK.unsqueeze(1))
    bce_MBK = F.binary_cross_entropy_with_logits(logits_MBK, y_MBK, weight_MBK, reduction="none")
    return bce_MBK.sum(2).mean(1)


@torch.no_grad()
def weighted_gradients(
    logits_MBK: Tensor, labels_MB: Tensor, positive_MK: Tensor, negative_MK: Tensor
) -> tuple[Tensor, Tensor]:
    """Sums over images of the sizes of the positive and the negative weighted gradients in the logits, ``[M, K]``."""
    is_label_MBK = F.one_hot(labels_MB, logits_MBK.shape[2]).bool()
    pull_MK = torch.where(is_label_MBK, torch.sigmoid(-logits_MBK), 0).sum(1)
    push_MK = torch.where(is_label_MBK, 0, torch.sigmoid(logits_MBK)).sum(1)
    return positive_MK * pull_MK, negative_MK * push_MK


def gradient_ratio(positive_MK: Tensor, negative_MK: Tensor) -> Tensor:
    """Of what was accumulated, ``[M, K]``."""
    return positive_MK / (negative_MK + 1e-10)
