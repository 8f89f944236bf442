"""Exemplars keep a margin over the new classes that are nearest to them (Hou et al., LUCIR, CVPR 2019)."""

import torch.nn.functional as F
from torch import Tensor


def margin_ranking(similarity_MBK: Tensor, labels_MB: Tensor, old: int, margin_M: Tensor, nearest: int) -> Tensor:
    """Mean of ``max(0, margin - s_by + s_bk)`` over exemplars b and the ``nearest`` new classes k most like b, ``[M]``.

    ``old``: classes below are old, their images exemplars. 0 where a batch has none; fewer new classes than ``nearest``
    are all taken.
    """
    is_old_MB = labels_MB < old
    own_MB1 = similarity_MBK.gather(2, labels_MB.unsqueeze(2))
    new_MBc = similarity_MBK[..., old:]
    rivals_MBk = new_MBc.topk(min(nearest, new_MBc.shape[2]), dim=2).values
    hinge_MB = F.relu(margin_M[:, None, None] - own_MB1 + rivals_MBk).mean(2)
    return (hinge_MB * is_old_MB).sum(1) / is_old_MB.sum(1).clamp_min(1)
