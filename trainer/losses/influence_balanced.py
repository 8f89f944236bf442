"""Influence-balanced loss: an image counts less the more it pulls at the classifier (Park et al., ICCV 2021)."""

import torch
from torch import Tensor

from trainer.losses.cross_entropy import image_cross_entropy
from trainer.losses.focal import focal_factor


def influence(ce_MB: Tensor, features_MBD: Tensor) -> Tensor:
    """L1 norm of an image's cross-entropy gradient in the rows of the head: ``2 (1 - p) |h|_1``, ``[M, B]``."""
    return -2 * torch.expm1(-ce_MB) * features_MBD.abs().sum(2)


def influence_balanced(
    logits_MBK: Tensor,
    labels_MB: Tensor,
    features_MBD: Tensor,
    weights_MK: Tensor,
    *,
    strength_M: Tensor,
    epsilon_M: Tensor,
    gamma_M: Tensor,
    detach: bool,
    weighted_p: bool = False,
) -> Tensor:
    """``(1/B) sum_b w_y strength / (influence_b + epsilon) (1 - p_b)**gamma (-log p_b)``, per member ``[M]``.

    ``detach``: no gradient flows through the influence. ``weighted_p``: p of the focal factor is ``p_b**w_y``. Needs
    float32: the factor reaches strength / epsilon.
    """
    ce_MB = image_cross_entropy(logits_MBK, labels_MB)
    factor_MB = strength_M[:, None] / (influence(ce_MB, features_MBD) + epsilon_M[:, None])
    if detach:
        factor_MB = factor_MB.detach()
    weight_MB = weights_MK.gather(1, labels_MB)
    focal_MB = focal_factor(weight_MB * ce_MB if weighted_p else ce_MB, gamma_M)
    return (weight_MB * factor_MB * focal_MB * ce_MB).mean(1)
