"""Separated softmax: old and new classes do not compete in the loss (Ahn et al., SS-IL, ICCV 2021, Eq. 3)."""

from typing import Literal

import torch
from torch import Tensor

from trainer.losses.cross_entropy import image_cross_entropy


def separated_cross_entropy(
    logits_MBK: Tensor, labels_MB: Tensor, old: int, mean: Literal["images", "groups"] = "images"
) -> Tensor:
    """Cross-entropy of each image among the classes of its own group, the first ``old`` or the rest: ``[M]``.

    ``mean``: over all images; or over those of either group, and then the sum of both, in which few exemplars weigh
    as much as many new images.
    """
    old_MB = labels_MB < old
    old_K = torch.arange(logits_MBK.shape[2], device=logits_MBK.device) < old
    own_MBK = old_MB.unsqueeze(2) == old_K
    ce_MB = image_cross_entropy(logits_MBK.masked_fill(~own_MBK, -torch.inf), labels_MB)
    if mean == "images":
        return ce_MB.mean(1)
    groups_GMB = torch.stack([old_MB, ~old_MB]).to(ce_MB)
    return ((groups_GMB * ce_MB).sum(2) / groups_GMB.sum(2).clamp_min(1)).sum(0)
