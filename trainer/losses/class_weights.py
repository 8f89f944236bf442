"""Weights of classes from their counts, and means weighted by them. A class without images has weight 0."""

from collections.abc import Sequence

import torch
from torch import Tensor


def effective_number_weights(counts_K: Tensor, beta_M: Tensor) -> Tensor:
    """``(1 - beta) / (1 - beta**n_k)``, scaled to sum to the number of classes with images: ``[M, K]``, float64.

    beta 0: all 1; beta towards 1: inverse frequency. (Cui et al., "Class-Balanced Loss Based on Effective Number of
    Samples", CVPR 2019, Eq. 2 and 3.)
    """
    counts_K = counts_K.double()
    # 1 - beta**n loses half of float64's digits where n is small and beta is near 1.
    effective_MK = -torch.expm1(counts_K.clamp_min(1) * beta_M.double().log()[:, None])
    return _scaled(1 / effective_MK, counts_K)


def inverse_frequency_weights(counts_K: Tensor) -> Tensor:
    """``1 / n_k``, scaled to sum to the number of classes with images: ``[K]``, float64."""
    counts_K = counts_K.double()
    return _scaled(1 / counts_K.clamp_min(1), counts_K)


def weighted_mean(losses_MB: Tensor, weights_MB: Tensor) -> Tensor:
    """``sum_b w_b l_b / sum_b w_b``, ``[M]``: a batch of one class has its weight cancelled."""
    return (weights_MB * losses_MB).sum(1) / weights_MB.sum(1)


def deferral(milestones: Sequence[int], epochs: int) -> int:
    """The epoch from which deferred weights act: where the learning rate falls first, or after 4/5 of the epochs.

    (Cao et al., NeurIPS 2019: epoch 160 of 200.)
    """
    return milestones[0] if milestones else epochs * 4 // 5


def _scaled(weights: Tensor, counts_K: Tensor) -> Tensor:
    present_K = counts_K > 0
    weights = torch.where(present_K, weights, 0)
    return weights * (present_K.sum() / weights.sum(-1, keepdim=True))
