"""Classifiers on top of the features. They grow with every task; rows follow the class order."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.nets.member import Init, member_linear
from trainer.rng import stream


class Growing(nn.Module, ABC):
    """A part of a network that holds something for every class seen so far."""

    @abstractmethod
    def grow(self, classes: int, seeds: Sequence[int], task: int) -> None:
        """Append what ``classes`` new classes need; member m draws from ``seeds[m]``."""


class Head(Growing):
    """M classifiers with a row a class. ``[M, B, D] -> logits [M, B, K]``."""

    weight_MKD: nn.Parameter
    stream_name = "head"
    """the name of what new rows are drawn from"""
    init: Init = "fan_out"
    """how new rows are drawn"""

    @property
    def classes(self) -> int:
        """K"""
        return self.weight_MKD.shape[1]

    def _append_rows(self, width: int, classes: int, seeds: Sequence[int], task: int, bound: float) -> Tensor:
        """``[M, c, width]``, uniform in +-bound."""
        rows = [
            torch.empty(classes, width).uniform_(-bound, bound, generator=self._stream(seed, task)) for seed in seeds
        ]
        return torch.stack(rows).to(self.weight_MKD)

    def _stream(self, seed: int, task: int, *use: str) -> torch.Generator:
        return stream(seed, "init", self.stream_name, task, *use)


def rare_bias(classes: int) -> float:
    """The bias at which each of so many sigmoids says 1 / classes; 0 where there are fewer than two classes."""
    return -math.log(max(classes - 1, 1))


class LinearHead(Head):
    """Linear with bias. New rows, and biases unless ``bias_init`` gives them, are uniform in +-1/sqrt(D).

    Unless they have a deviation of their own, rows are Kaiming normal with ``init`` fan_in, and with fan_out_wide_head
    uniform in +-sqrt(3/D), with biases of 0.
    """

    def __init__(
        self,
        members: int,
        features: int,
        classes: int = 0,
        bias_init: Callable[[int], float] | None = None,
        deviation: float | None = None,
        stream_name: str = "head",
    ) -> None:
        """``bias_init``: new biases, from the number of all classes then seen; ``deviation``: of new rows."""
        super().__init__()
        self.stream_name = stream_name
        self._bias_init = bias_init
        self._deviation = deviation
        self.weight_MKD = nn.Parameter(torch.empty(members, classes, features))
        self.bias_MK = nn.Parameter(torch.empty(members, classes))

    def forward(self, x_MBD: Tensor) -> Tensor:
        return member_linear(x_MBD, self.weight_MKD, self.bias_MK)

    def grow(self, classes: int, seeds: Sequence[int], task: int) -> None:
        features = self.weight_MKD.shape[2]
        bound = 1 / math.sqrt(features) if self._deviation is None else math.sqrt(3) * self._deviation
        new = self._append_rows(features + 1, classes, seeds, task, bound)
        rows, bias = new[:, :, :-1], new[:, :, -1]
        if self.init == "fan_in" and self._deviation is None:
            normal = [torch.randn(classes, features, generator=self._stream(seed, task, "rows")) for seed in seeds]
            rows = math.sqrt(2 / features) * torch.stack(normal).to(rows)
        if self.init == "fan_out_wide_head" and self._deviation is None:
            rows, bias = math.sqrt(3) * rows, torch.zeros_like(bias)
        if self._bias_init is not None:
            bias = torch.full_like(bias, self._bias_init(self.classes + classes))
        self.weight_MKD = nn.Parameter(torch.cat([self.weight_MKD.data, rows], dim=1))
        self.bias_MK = nn.Parameter(torch.cat([self.bias_MK.data, bias], dim=1))


class CosineHead(Head):
    """Scaled cosine between features and rows, without bias.

    A class may have several proxies: its similarity is then their mean, weighted by their softmax (PODNet). The
    scale is a parameter that starts at 1 (LUCIR, PODNet), or fixed (LDAM). New rows are uniform in +-1/sqrt(D); with
    ``init`` fan_in, they are scaled to norm 1.
    """

    def __init__(
        self, members: int, features: int, classes: int = 0, *, proxies: int = 1, scale: float | None = None
    ) -> None:
        """``scale``: fixed; None: learnt, one a member."""
        super().__init__()
        self.proxies, self.features = proxies, features
        self.weight_MKD = nn.Parameter(torch.empty(members, classes, proxies * features))
        scale_M = torch.full((members,), 1.0 if scale is None else scale)
        if scale is None:
            self.scale_M: Tensor = nn.Parameter(scale_M)
        else:
            self.register_buffer("scale_M", scale_M)

    def similarities(self, x_MBD: Tensor) -> Tensor:
        """Without the scale, in [-1, 1]: ``[M, B, K]``."""
        rows_MRD = F.normalize(self.weight_MKD.unflatten(2, (self.proxies, -1)).flatten(1, 2), dim=2)
        cosine_MBKP = (F.normalize(x_MBD, dim=2) @ rows_MRD.transpose(1, 2)).unflatten(2, (-1, self.proxies))
        return (cosine_MBKP.softmax(3) * cosine_MBKP).sum(3)

    def forward(self, x_MBD: Tensor) -> Tensor:
        return self.scale_M[:, None, None] * self.similarities(x_MBD)

    def grow(self, classes: int, seeds: Sequence[int], task: int) -> None:
        bound = 1 / math.sqrt(self.features)
        new = self._append_rows(self.weight_MKD.shape[2], classes, seeds, task, bound)
        if self.init == "fan_in":
            new = F.normalize(new.unflatten(2, (self.proxies, -1)), dim=3).flatten(2)
        self.weight_MKD = nn.Parameter(torch.cat([self.weight_MKD.data, new], dim=1))


class PrototypeHead(Head):
    """Cosine to orthonormal vectors, one a class, that are not meant to learn.

    New ones are drawn at random, orthogonal to all there are. There can be as many as features.
    """

    def __init__(self, members: int, features: int, classes: int = 0) -> None:
        super().__init__()
        self.weight_MKD = nn.Parameter(torch.empty(members, classes, features))

    def forward(self, x_MBD: Tensor) -> Tensor:
        return F.normalize(x_MBD, dim=2) @ self.weight_MKD.transpose(1, 2)

    def grow(self, classes: int, seeds: Sequence[int], task: int) -> None:
        width = self.weight_MKD.shape[2]
        drawn = [torch.randn(classes, width, dtype=torch.float64, generator=self._stream(seed, task)) for seed in seeds]
        old_MKD = self.weight_MKD.detach().cpu().double()
        basis_MDK, _ = torch.linalg.qr(torch.cat([old_MKD, torch.stack(drawn)], dim=1).transpose(1, 2))
        new = basis_MDK[:, :, self.classes :].transpose(1, 2).to(self.weight_MKD)
        self.weight_MKD = nn.Parameter(torch.cat([self.weight_MKD.data, new], dim=1))


class ClassScale(Growing):
    """A learnt factor on each class's logit, 1 at first. ``[M, B, K] -> [M, B, K]``."""

    def __init__(self, members: int) -> None:
        super().__init__()
        self.scale_MK = nn.Parameter(torch.ones(members, 0))

    def forward(self, logits_MBK: Tensor) -> Tensor:
        return logits_MBK * self.scale_MK.unsqueeze(1)

    def grow(self, classes: int, seeds: Sequence[int], task: int) -> None:
        new = torch.ones(len(seeds), classes).to(self.scale_MK)
        self.scale_MK = nn.Parameter(torch.cat([self.scale_MK.data, new], dim=1))
