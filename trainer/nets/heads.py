"""The classifier on top of the features. It grows with every task."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainer.nets.member import member_linear
from trainer.rng import stream


class LinearHead(nn.Module):
    """M linear classifiers with bias over all classes seen so far. ``[M, B, D] -> [M, B, K]``."""

    def __init__(self, members: int, features: int, classes: int = 0) -> None:
        super().__init__()
        self.weight_MKD = nn.Parameter(torch.empty(members, classes, features))
        self.bias_MK = nn.Parameter(torch.empty(members, classes))

    def forward(self, x_MBD: Tensor) -> Tensor:
        return member_linear(x_MBD, self.weight_MKD, self.bias_MK)

    def grow(self, classes: int, seeds: Sequence[int], task: int) -> None:
        """Append rows for new classes: uniform in +-1/sqrt(D), member m drawn from ``seeds[m]``."""
        features = self.weight_MKD.shape[2]
        bound = 1 / math.sqrt(features)
        rows = [
            torch.empty(classes, features + 1).uniform_(-bound, bound, generator=stream(seed, "init", "head", task))
            for seed in seeds
        ]
        new = torch.stack(rows).to(self.weight_MKD)
        self.weight_MKD = nn.Parameter(torch.cat([self.weight_MKD.data, new[:, :, :-1]], dim=1))
        self.bias_MK = nn.Parameter(torch.cat([self.bias_MK.data, new[:, :, -1]], dim=1))
