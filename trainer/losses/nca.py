"""Neighbourhood component analysis with a margin: the own class is not in the denominator.

Douillard et al., "PODNet", ECCV 2020, the classification loss over local similarities.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def nca(logits_MBK: Tensor, labels_MB: Tensor, margin_M: Tensor) -> Tensor:
    """``(1/B) sum_b max(0, -(z_y - margin) + log sum_{j != y} exp z_j)``, per member ``[M]``.

    ``margin_M``: in units of the logits; for similarities that a scale multiplies, scale times the margin.
    """
    own_MBK = F.one_hot(labels_MB, logits_MBK.shape[2]).bool()
    rivals_MB = logits_MBK.masked_fill(own_MBK, -torch.inf).logsumexp(2)
    own_MB = logits_MBK.gather(2, labels_MB.unsqueeze(2)).squeeze(2)
    return F.relu(rivals_MB - own_MB + margin_M.unsqueeze(1)).mean(1)
