"""Layers behind a backbone that are no classifiers: linear ones, and one map that attends to another."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.nets.member import member_linear
from trainer.rng import stream


class MemberLinear(nn.Module):
    """M linear layers with biases. ``[M, B, D] -> [M, B, E]``. Values are those of ``draw``."""

    def __init__(self, members: int, features: int, outputs: int) -> None:
        super().__init__()
        self.weight_MED = nn.Parameter(torch.zeros(members, outputs, features))
        self.bias_ME = nn.Parameter(torch.zeros(members, outputs))

    def forward(self, x_MBD: Tensor) -> Tensor:
        return member_linear(x_MBD, self.weight_MED, self.bias_ME)

    @torch.no_grad()
    def draw(self, seeds: Sequence[int], *where: str | int) -> None:
        """Uniform in +-1/sqrt(D), member m from ``seeds[m]``."""
        _, outputs, features = self.weight_MED.shape
        bound = 1 / math.sqrt(features)
        streams = [stream(seed, "init", *where) for seed in seeds]
        drawn = [torch.empty(outputs, features + 1).uniform_(-bound, bound, generator=one) for one in streams]
        drawn_MEW = torch.stack(drawn).to(self.weight_MED)
        self.weight_MED.copy_(drawn_MEW[..., :-1])
        self.bias_ME.copy_(drawn_MEW[..., -1])


class Projector(nn.Module):
    """Two linear layers with a ReLU between them. ``[M, B, D] -> [M, B, E]``."""

    def __init__(self, members: int, features: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.first, self.second = MemberLinear(members, features, hidden), MemberLinear(members, hidden, outputs)

    def forward(self, x_MBD: Tensor) -> Tensor:
        return self.second(F.relu(self.first(x_MBD)))

    def draw(self, seeds: Sequence[int], *where: str | int) -> None:
        """See ``MemberLinear.draw``."""
        self.first.draw(seeds, *where, "first")
        self.second.draw(seeds, *where, "second")


class MapAttention(nn.Module):
    """What the positions of one map take from those of another and their own, by attention; their mean, ``[M, B, D]``.

    Layer norm on either map, square matrices for queries, keys and values, nothing behind them. Values are those of
    ``draw``.
    """

    def __init__(self, members: int, features: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        for name in ("query", "key", "value"):
            self.register_parameter(name, nn.Parameter(torch.zeros(members, features, features)))
        for name in ("own", "other"):
            self.register_parameter(f"{name}_factor_MD", nn.Parameter(torch.ones(members, features)))
            self.register_parameter(f"{name}_offset_MD", nn.Parameter(torch.zeros(members, features)))

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """Of maps ``[B, M*D, h, w]``."""
        own_MBPD, other_MBPD = self._positions("own", own), self._positions("other", other)
        both_MBPD = torch.cat([other_MBPD, own_MBPD], dim=2)
        query, key, value = (
            (x_MBPD @ self.get_parameter(name).transpose(1, 2).unsqueeze(1))
            .unflatten(3, (self.heads, -1))
            .transpose(2, 3)
            for name, x_MBPD in (("query", own_MBPD), ("key", both_MBPD), ("value", both_MBPD))
        )
        weight = (query @ key.transpose(3, 4) / math.sqrt(query.shape[4])).softmax(4)
        return (weight @ value).mean(3).flatten(2)

    def _positions(self, name: str, x: Tensor) -> Tensor:
        """``[B, M*D, h, w] -> [M, B, P, D]``, normalised."""
        factor_MD, offset_MD = (self.get_parameter(f"{name}_{what}_MD") for what in ("factor", "offset"))
        x_MBPD = x.to(factor_MD.dtype).unflatten(1, (len(factor_MD), -1)).flatten(3).permute(1, 0, 3, 2)
        normalised_MBPD = F.layer_norm(x_MBPD, x_MBPD.shape[3:])
        return normalised_MBPD * factor_MD[:, None, None] + offset_MD[:, None, None]

    @torch.no_grad()
    def draw(self, seeds: Sequence[int], *where: str | int) -> None:
        """Matrices Xavier-normal, member m from ``seeds[m]``; layer norms 1 and 0."""
        for name, parameter in self.named_parameters():
            if name in ("query", "key", "value"):
                width = parameter.shape[2]
                drawn = [torch.randn(width, width, generator=stream(seed, "init", *where, name)) for seed in seeds]
                parameter.copy_(torch.stack(drawn).to(parameter) / math.sqrt(width))
            else:
                parameter.fill_(name.endswith("factor_MD"))
