"""Softmax cross-entropy, with an optional log prior on the logits (balanced softmax, Ren et al., NeurIPS 2020)."""

import torch.nn.functional as F
from torch import Tensor


def log_prior(counts_K: Tensor) -> Tensor:
    """``log(n_k / sum n)``, ``[K]``; -inf for a class without images, which leaves it out of the softmax."""
    return (counts_K / counts_K.sum()).log()


def image_cross_entropy(logits_MBK: Tensor, labels_MB: Tensor) -> Tensor:
    """``-log softmax(z_b)[y_b]`` of every image, ``[M, B]``."""
    return F.cross_entropy(logits_MBK.transpose(1, 2), labels_MB, reduction="none")


def cross_entropy(logits_MBK: Tensor, labels_MB: Tensor, prior_MK: Tensor | None = None) -> Tensor:
    """``-(1/B) sum_b log softmax(z_b + prior)[y_b]``, per member ``[M]``."""
    z = logits_MBK if prior_MK is None else logits_MBK + prior_MK.unsqueeze(1)
    return image_cross_entropy(z, labels_MB).mean(1)


def cross_entropy_grad(logits_MBK: Tensor, labels_MB: Tensor, prior_MK: Tensor | None = None) -> Tensor:
    """Gradient of ``cross_entropy`` in the logits: ``(softmax(z + prior) - onehot(y)) / B``, ``[M, B, K]``."""
    z = logits_MBK if prior_MK is None else logits_MBK + prior_MK.unsqueeze(1)
    p = z.softmax(-1)
    return (p - F.one_hot(labels_MB, z.shape[-1]).to(p)) / z.shape[1]
