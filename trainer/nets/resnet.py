"""Residual networks of M members: ResNet-32 and its small sister (He et al., CVPR 2016, section 4.2), ResNet-18."""

import copy
from collections.abc import Sequence
from typing import Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.nets.member import (
    FoldedConv2d,
    Init,
    MemberBatchNorm2d,
    MemberConv2d,
    better_alone,
    each_alone,
    initialise,
    member_pool,
    pad_channels,
)


class Maps(NamedTuple):
    """What a network makes of images ``[B, M*C, H, W]``."""

    features_MBD: Tensor
    """the last map, pooled"""
    last: Tensor
    """``[B, M*D, h, w]``"""
    stage_outputs: tuple[Tensor, ...]
    """outputs of the stages before their last ReLU, ``[B, M*C_s, h_s, w_s]``"""


class Split(NamedTuple):
    """The names of a network's modules."""

    trunk: tuple[str, ...]
    """before the last stage"""
    last_stage: tuple[str, ...]


class PadShortcut(nn.Module):
    """Every second pixel, channels padded with zeros: the shortcut without parameters (option A of the paper)."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.c_in, self.pad, self.stride = c_in, (c_out - c_in) // 2, stride

    def forward(self, x: Tensor) -> Tensor:
        return pad_channels(x[:, :, :: self.stride, :: self.stride], self.c_in, self.pad)


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, without the last ReLU."""

    def __init__(self, members: int, c_in: int, c_out: int, stride: int, shortcut: str) -> None:
        super().__init__()
        self.conv1 = MemberConv2d(members, c_in, c_out, 3, stride)
        self.bn1 = MemberBatchNorm2d(members, c_out)
        self.conv2 = MemberConv2d(members, c_out, c_out, 3)
        self.bn2 = MemberBatchNorm2d(members, c_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or c_in != c_out:
            self.shortcut = (
                PadShortcut(c_in, c_out, stride)
                if shortcut == "pad"
                else nn.Sequential(MemberConv2d(members, c_in, c_out, 1, stride), MemberBatchNorm2d(members, c_out))
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(y)) + self.shortcut(x)


def _fold(owner: nn.Module, conv: str, norm: str, dtype: torch.dtype) -> None:
    """Put one convolution in the place of a convolution and its batch norm."""
    setattr(owner, conv, FoldedConv2d(getattr(owner, conv), getattr(owner, norm), dtype))
    setattr(owner, norm, nn.Identity())


class ResNet(nn.Module):
    """Stem (of 7x7 before four stages), stages of blocks, global average pool. ``[B, M*C, H, W] -> Maps``."""

    def __init__(
        self,
        members: int,
        channels: int,
        widths: Sequence[int],
        blocks: int,
        shortcut: str = "conv",
        last_relu: bool = True,
    ) -> None:
        super().__init__()
        self.features, self.large_stem, self.last_relu = widths[-1], len(widths) == 4, last_relu
        self.stem = MemberConv2d(members, channels, widths[0], *((7, 2) if self.large_stem else (3, 1)))
        self.bn = MemberBatchNorm2d(members, widths[0])
        stages: list[nn.Module] = []
        c_in = widths[0]
        for stage, width in enumerate(widths):
            for block in range(blocks):
                stages.append(Block(members, c_in, width, 2 if stage > 0 and block == 0 else 1, shortcut))
                c_in = width
        self.blocks = nn.Sequential(*stages)
        self.widths, self.blocks_a_stage = tuple(widths), blocks

    @property
    def members(self) -> int:
        return self.stem.weight.shape[0]

    def folded(self, dtype: torch.dtype) -> Self:
        """A copy for evaluation alone, without batch norms: they are part of the convolutions, of this data type."""
        found = copy.deepcopy(self).requires_grad_(False).eval()
        _fold(found, "stem", "bn", dtype)
        for block in found.blocks:
            _fold(block, "conv1", "bn1", dtype)
            _fold(block, "conv2", "bn2", dtype)
            if isinstance(block.shortcut, nn.Sequential):
                _fold(block.shortcut, "0", "1", dtype)
        return found

    def forward(self, x: Tensor) -> Maps:
        if better_alone(x, self.members):
            features, last, stage_outputs = zip(*each_alone(self, x, self.members), strict=True)
            outputs = tuple(torch.cat(own, 1) for own in zip(*stage_outputs, strict=True))
            return Maps(torch.cat(features), torch.cat(last, 1), outputs)
        return self.together(x)

    def together(self, x: Tensor) -> Maps:
        """All members in one pass."""
        return self.last_stage(*self.trunk(x))

    def trunk(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What the last stage is given, and the outputs of the stages before it before their last ReLU."""
        x = F.relu(self.bn(self.stem(x)))
        if self.large_stem:
            x = F.max_pool2d(x, 3, 2, 1)
        stage_outputs = []
        for number, block in enumerate(list(self.blocks)[: -self.blocks_a_stage], 1):
            y = block(x)
            if number % self.blocks_a_stage == 0:
                stage_outputs.append(y)
            x = F.relu(y)
        return x, tuple(stage_outputs)

    def last_stage(self, x: Tensor, stage_outputs: tuple[Tensor, ...] = ()) -> Maps:
        """The last stage and the pooling, behind what ``trunk`` returns of this network or of another."""
        y = x
        for block in list(self.blocks)[-self.blocks_a_stage :]:
            y = block(x)
            x = F.relu(y)
        last = x if self.last_relu else y
        return Maps(member_pool(last, self.members), last, (*stage_outputs, y))

    def split(self) -> Split:
        """Which modules ``trunk`` and ``last_stage`` use."""
        names = [f"blocks.{number}" for number in range(len(self.blocks))]
        return Split(("stem", "bn", *names[: -self.blocks_a_stage]), tuple(names[-self.blocks_a_stage :]))


def build(
    name: str,
    channels: int,
    seeds: Sequence[int],
    *,
    shortcut: Literal["conv", "pad"] = "conv",
    init: Init = "fan_out",
    last_relu: bool = True,
    drawn_as: str = "",
) -> ResNet:
    """A network of ``len(seeds)`` members for images of ``channels`` channels; member m is drawn from ``seeds[m]``.

    ``shortcut``: 1x1 convolution with batch norm where the shape changes, or padding. ``init``: of the
    convolutions. ``last_relu``: whether features are what is left after the last ReLU. ``drawn_as``: networks of
    different names have different weights.
    """
    shapes = {"resnet32": ((16, 32, 64), 5), "resnet18": ((64, 128, 256, 512), 2), "small": ((16, 32, 64), 1)}
    widths, blocks = shapes[name]
    net = ResNet(len(seeds), channels, widths, blocks, shortcut, last_relu)
    initialise(net, seeds, init, drawn_as)
    return net
