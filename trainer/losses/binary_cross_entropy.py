"""Cross-entropy of every class by itself, against targets in [0, 1] that need not sum to 1."""

import torch.nn.functional as F
from torch import Tensor


def sigmoid_cross_entropy(logits_MBK: Tensor, target_MBK: Tensor) -> Tensor:
    """``(1/B) sum_b sum_k BCE(sigmoid(z_bk), target_bk)``: a sum over classes, per member ``[M]``."""
    return F.binary_cross_entropy_with_logits(logits_MBK, target_MBK, reduction="none").sum(2).mean(1)
