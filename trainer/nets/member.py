"""M networks computed side by side; the only file that knows how.

Images and activations are ``[B, M*C, H, W]``, channel block m belonging to member m. Convolution runs with
``groups=M``, batch norm over ``M*C`` channels is per member by nature, the head is a batched matmul. Every
parameter and buffer leads with ``[M, ...]``, so that a member can be taken out, or put beside others, by
indexing alone. One network is M = 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.rng import stream


class MemberConv2d(nn.Module):
    """M convolutions without bias. ``[B, M*Cin, H, W] -> [B, M*Cout, H', W']``."""

    def __init__(self, members: int, c_in: int, c_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.members, self.stride, self.padding = members, stride, kernel // 2
        self.weight = nn.Parameter(torch.empty(members, c_out, c_in, kernel, kernel))

    def reset_member(self, member: int, generator: torch.Generator) -> None:
        """Kaiming normal, fan out, ReLU."""
        _, c_out, _, k, _ = self.weight.shape
        with torch.no_grad():
            self.weight[member].normal_(0.0, math.sqrt(2.0 / (c_out * k * k)), generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight.flatten(0, 1), stride=self.stride, padding=self.padding, groups=self.members)


class MemberBatchNorm2d(nn.Module):
    """M batch norms. ``[B, M*C, H, W] -> same``; momentum 0.1, eps 1e-5."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, members: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(members, channels))
        self.bias = nn.Parameter(torch.zeros(members, channels))
        self.register_buffer("running_mean", torch.zeros(members, channels))
        self.register_buffer("running_var", torch.ones(members, channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(
            x,
            self.running_mean.view(-1),
            self.running_var.view(-1),
            self.weight.view(-1),
            self.bias.view(-1),
            training=self.training,
        )


def member_linear(x_MBD: Tensor, weight_MKD: Tensor, bias_MK: Tensor) -> Tensor:
    """M linear layers. ``[M, B, D] -> [M, B, K]``."""
    return torch.baddbmm(bias_MK.unsqueeze(1), x_MBD, weight_MKD.transpose(1, 2))


def split_features(x: Tensor, members: int) -> Tensor:
    """Pooled activations ``[B, M*D] -> [M, B, D]``."""
    return x.unflatten(1, (members, -1)).transpose(0, 1)


def member_pool(x: Tensor, members: int) -> Tensor:
    """Global average pool ``[B, M*D, h, w] -> [M, B, D]``."""
    return split_features(x.mean((2, 3)), members)


def by_member(x: Tensor, members: int) -> Tensor:
    """A map ``[B, M*C, H, W] -> [M, B, C, H, W]``."""
    return x.unflatten(1, (members, -1)).transpose(0, 1)


def pad_channels(x: Tensor, members: int, pad: int) -> Tensor:
    """``pad`` channels of zeros on both sides of each member's: ``[B, M*C, H, W] -> [B, M*(C + 2 pad), H, W]``."""
    return F.pad(x.unflatten(1, (members, -1)), (0, 0, 0, 0, pad, pad)).flatten(1, 2)


def repeat_images(x_BCHW: Tensor, members: int) -> Tensor:
    """The same images for every member: ``[B, C, H, W] -> [B, M*C, H, W]``."""
    return x_BCHW.repeat(1, members, 1, 1)


def side_by_side(x_NCHW: Tensor, members: int) -> Tensor:
    """Images of member after member: ``[M*B, C, H, W] -> [B, M*C, H, W]``."""
    return x_NCHW.unflatten(0, (members, -1)).transpose(0, 1).flatten(1, 2)


def assign(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Make these the parameters and buffers of ``module``, by name, whatever their shapes were.

    Raises KeyError if one is missing.
    """
    for path, part in module.named_modules():
        prefix = f"{path}." if path else ""
        for name in list(part._parameters):
            part._parameters[name] = nn.Parameter(tensors[prefix + name])
        for name in list(part._buffers):
            part._buffers[name] = tensors[prefix + name]


def initialise(net: nn.Module, seeds: Sequence[int]) -> None:
    """Draw the weights of member m from ``seeds[m]``, whatever stands beside it."""
    for path, module in net.named_modules():
        if isinstance(module, MemberConv2d):
            for member, seed in enumerate(seeds):
                module.reset_member(member, stream(seed, "init", path))
