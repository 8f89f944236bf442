"""Losses of images against the other images of their batch."""

import torch
import torch.nn.functional as F
from torch import Tensor


def supervised_contrast(features_MBD: Tensor, labels_MB: Tensor, tau_M: Tensor) -> Tensor:
    """``-log softmax_j(f_b . f_j / tau)``, mean over images j of the own class, b itself too, then over b: ``[M]``.

    Features of length 1. (Khosla et al., NeurIPS 2020, as UPCL has it: Wang et al., 2024.)
    """
    similarity_MBB = features_MBD @ features_MBD.transpose(1, 2) / tau_M[:, None, None]
    own_MBB = (labels_MB.unsqueeze(2) == labels_MB.unsqueeze(1)).to(similarity_MBB)
    return -((own_MBB * similarity_MBB.log_softmax(2)).sum(2) / own_MBB.sum(2)).mean(1)


def view_contrast(own_MBD: Tensor, keys_MBD: Tensor, tau_M: Tensor) -> Tensor:
    """``-log softmax`` at the other view of an image, over all images but the own row: mean over the batch, ``[M]``.

    By cosines over tau. The batch is two views of B/2 images, one behind the other; of two batches, the one that is
    asked and the one that is found. 0 for a single image. (Chen et al., SimCLR, ICML 2020, Eq. 1.)
    """
    images = own_MBD.shape[1]
    cosine_MBB = F.normalize(own_MBD, dim=2) @ F.normalize(keys_MBD, dim=2).transpose(1, 2)
    itself_BB = torch.eye(images, dtype=torch.bool, device=own_MBD.device)
    log_p_MBB = (cosine_MBB / tau_M[:, None, None]).masked_fill(itself_BB, -torch.inf).log_softmax(2)
    other_B = torch.arange(images, device=own_MBD.device).roll(images // 2)
    return -log_p_MBB.gather(2, other_B.expand(len(own_MBD), -1).unsqueeze(2)).mean((1, 2))
