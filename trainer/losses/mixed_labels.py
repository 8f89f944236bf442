"""The loss of images with two labels, one of what is pasted into the other (Yun et al., CutMix, ICCV 2019)."""

import torch
from torch import Tensor

from trainer.losses.class_weights import weighted_mean
from trainer.losses.cross_entropy import image_cross_entropy


def mixed_cross_entropy(
    logits_MBK: Tensor, labels_MB: Tensor, weights_MK: Tensor, pasted_MB: Tensor | None, share_M: Tensor | None
) -> Tensor:
    """Cross-entropy weighted by class, ``share`` of it for the own labels, the rest for what was pasted, ``[M]``.

    Both are divided by one sum of weights, so that weights do not change the shares. ``pasted_MB`` None: nothing was.
    """
    losses_MN, weights_MN = image_cross_entropy(logits_MBK, labels_MB), weights_MK.gather(1, labels_MB)
    if pasted_MB is not None and share_M is not None:
        share_M1 = share_M[:, None]
        losses_MN = torch.cat([losses_MN, image_cross_entropy(logits_MBK, pasted_MB)], dim=1)
        weights_MN = torch.cat([share_M1 * weights_MN, (1 - share_M1) * weights_MK.gather(1, pasted_MB)], dim=1)
    return weighted_mean(losses_MN, weights_MN)
