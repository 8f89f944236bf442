"""Distillation of what stands before the classifier: the direction of features, and maps pooled along each axis."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def cosine_distance(features_MBD: Tensor, teacher_MBD: Tensor) -> Tensor:
    """``(1/B) sum_b (1 - cos(x_b, xt_b))``, per member ``[M]`` (Hou et al., LUCIR, CVPR 2019)."""
    return (1 - F.cosine_similarity(features_MBD, teacher_MBD, dim=2)).mean(1)


def pooled_distance(maps: Sequence[Tensor], teacher: Sequence[Tensor], members: int) -> Tensor:
    """How far apart maps ``[B, M*C, H, W]`` are when seen along their axes, mean over images and maps, ``[M]``.

    Of the squared map, sums over W and sums over H, side by side, scaled to length 1; their Euclidean distance
    (Douillard et al., PODNet, ECCV 2020, POD-spatial).
    """
    distances = [
        (_axes(own, members) - _axes(old, members)).norm(dim=2).mean(0) for own, old in zip(maps, teacher, strict=True)
    ]
    return torch.stack(distances).mean(0)


def _axes(x: Tensor, members: int) -> Tensor:
    """``[B, M*C, H, W] -> [B, M, C*H + C*W]``, each of length 1."""
    squares = x.unflatten(1, (members, -1)).square()
    return F.normalize(torch.cat([squares.sum(4).flatten(2), squares.sum(3).flatten(2)], dim=2), dim=2)
