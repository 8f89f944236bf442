"""Distillation of each earlier task by itself: a softmax over its own classes (Ahn et al., SS-IL, ICCV 2021, Eq. 5)."""

from collections.abc import Sequence

import torch
from torch import Tensor


def taskwise_kl(logits_MBm: Tensor, teacher_MBm: Tensor, sizes: Sequence[int], temperature_M: Tensor) -> Tensor:
    """``sum_u mean_b KL(softmax(zt_u/T) || softmax(z_u/T))``, per member ``[M]``. No T^2 inside.

    ``sizes``: classes of each earlier task u, m in all.
    """
    T = temperature_M[:, None, None]
    log_p_MBm = _log_softmax(logits_MBm / T, sizes)
    log_q_MBm = _log_softmax(teacher_MBm / T, sizes)
    return (log_q_MBm.exp() * (log_q_MBm - log_p_MBm)).sum(2).mean(1)


def _log_softmax(z_MBm: Tensor, sizes: Sequence[int]) -> Tensor:
    """Within each task."""
    return torch.cat([own.log_softmax(2) for own in z_MBm.split(list(sizes), 2)], dim=2)
