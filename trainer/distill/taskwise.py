"""Distillation of each earlier task's classes by themselves, in a softmax over its own."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def headwise_bce(logits_MBm: Tensor, teacher_MBm: Tensor, sizes: Sequence[int], temperature_M: Tensor) -> Tensor:
    """``sum_h mean_{b, j in h} BCE(softmax(z_h/T)_j, softmax(zt_h/T)_j)``, per member ``[M]``.

    ``sizes``: classes of the tasks h to distil, from the first on; classes behind them are left out. (Castro et al.,
    EEIL, ECCV 2018.)
    """
    T, known = temperature_M[:, None, None], sum(sizes)
    student, teacher = ((z[..., :known] / T).split(list(sizes), 2) for z in (logits_MBm, teacher_MBm))
    losses_M = [
        F.binary_cross_entropy(own_MBh.softmax(2), taught_MBh.softmax(2), reduction="none").mean((1, 2))
        for own_MBh, taught_MBh in zip(student, teacher, strict=True)
    ]
    return torch.stack(losses_M).sum(0)


def taskwise_kl(logits_MBm: Tensor, teacher_MBm: Tensor, sizes: Sequence[int], temperature_M: Tensor) -> Tensor:
    """``sum_u mean_b KL(softmax(zt_u/T) || softmax(z_u/T))``, per member ``[M]``. No T^2 inside.

    ``sizes``: classes of each earlier task u, m in all. (Ahn et al., SS-IL, ICCV 2021, Eq. 5.)
    """
    T = temperature_M[:, None, None]
    log_p_MBm, log_q_MBm = (
        torch.cat([own.log_softmax(2) for own in (z / T).split(list(sizes), 2)], dim=2)
        for z in (logits_MBm, teacher_MBm)
    )
    return (log_q_MBm.exp() * (log_q_MBm - log_p_MBm)).sum(2).mean(1)
