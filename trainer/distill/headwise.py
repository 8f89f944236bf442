"""Distillation of each earlier task's classes by themselves (Castro et al., EEIL, ECCV 2018)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def headwise_bce(logits_MBm: Tensor, teacher_MBm: Tensor, sizes: Sequence[int], temperature_M: Tensor) -> Tensor:
    """``sum_h mean_{b, j in h} BCE(softmax(z_h/T)_j, softmax(zt_h/T)_j)``, per member ``[M]``.

    ``sizes``: classes of the tasks h to distil, from the first on; classes behind them are left out.
    """
    T = temperature_M[:, None, None]
    total_M = torch.zeros_like(temperature_M)
    known = sum(sizes)
    heads = zip(
        logits_MBm[..., :known].split(list(sizes), 2), teacher_MBm[..., :known].split(list(sizes), 2), strict=True
    )
    for own_MBh, teacher_MBh in heads:
        bce_MBh = F.binary_cross_entropy((own_MBh / T).softmax(2), (teacher_MBh / T).softmax(2), reduction="none")
        total_M = total_M + bce_MBh.mean((1, 2))
    return total_M
