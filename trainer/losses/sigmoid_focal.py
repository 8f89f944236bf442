"""Focal loss on K sigmoids, weighted by class (Lin et al., ICCV 2017; Cui et al., CVPR 2019)."""

import torch.nn.functional as F
from torch import Tensor


def sigmoid_focal(logits_MBK: Tensor, labels_MB: Tensor, gamma_M: Tensor, weights_MK: Tensor) -> Tensor:
    """``(1/B) sum_b w_y sum_k (1 - q_bk)**gamma (-log q_bk)``, per member ``[M]``.

    q is sigmoid(z) for the label and 1 - sigmoid(z) for all others; gamma 0 is the binary cross-entropy.
    """
    y_MBK = F.one_hot(labels_MB, logits_MBK.shape[2]).to(logits_MBK)
    log_rest_MBK = -y_MBK * logits_MBK - F.softplus(-logits_MBK)
    factor_MBK = (gamma_M[:, None, None] * log_rest_MBK).exp()
    bce_MBK = F.binary_cross_entropy_with_logits(logits_MBK, y_MBK, reduction="none")
    return (weights_MK.gather(1, labels_MB) * (factor_MBK * bce_MBK).sum(2)).mean(1)
