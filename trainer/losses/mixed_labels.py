"""The loss of images with two labels, one of what is pasted into the other (Yun et al., CutMix, ICCV 2019)."""

from typing import NamedTuple

import torch
from torch import Tensor

from trainer.losses.class_weights import weighted_mean


class Weighted(NamedTuple):
    """The losses of a batch for one set of labels, and the images' weights."""

    losses_MB: Tensor
    weights_MB: Tensor


def mixed_labels(own: Weighted, pasted: Weighted | None, share_M: Tensor | None) -> Tensor:
    """``share`` times the loss for the own labels and the rest for what was pasted, over the sum of weights, ``[M]``.

    Both are divided by one sum, so that weights do not change the shares. ``pasted`` None: nothing was.
    """
    if pasted is None or share_M is None:
        return weighted_mean(own.losses_MB, own.weights_MB, "weights")
    share_M1 = share_M[:, None]
    losses_MN = torch.cat([own.losses_MB, pasted.losses_MB], dim=1)
    weights_MN = torch.cat([share_M1 * own.weights_MB, (1 - share_M1) * pasted.weights_MB], dim=1)
    return weighted_mean(losses_MN, weights_MN, "weights")
