"""Residual networks of M members: ResNet-32 and its small sister (He et al., CVPR 2016, section 4.2), ResNet-18."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from trainer.nets.member import MemberBatchNorm2d, MemberConv2d, initialise, split_features


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, 1x1 convolution with batch norm where the shape changes."""

    def __init__(self, members: int, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = MemberConv2d(members, c_in, c_out, 3, stride)
        self.bn1 = MemberBatchNorm2d(members, c_out)
        self.conv2 = MemberConv2d(members, c_out, c_out, 3)
        self.bn2 = MemberBatchNorm2d(members, c_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or c_in != c_out:
            self.shortcut = nn.Sequential(
                MemberConv2d(members, c_in, c_out, 1, stride), MemberBatchNorm2d(members, c_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """Stem, stages of blocks, global average pool. ``[B, M*C, H, W] -> features [M, B, D]``."""

    def __init__(
        self, members: int, channels: int, widths: Sequence[int], blocks: int, *, large_stem: bool = False
    ) -> None:
        super().__init__()
        self.members, self.features, self.large_stem = members, widths[-1], large_stem
        self.stem = MemberConv2d(members, channels, widths[0], *((7, 2) if large_stem else (3, 1)))
        self.bn = MemberBatchNorm2d(members, widths[0])
        stages: list[nn.Module] = []
        c_in = widths[0]
        for stage, width in enumerate(widths):
            for block in range(blocks):
                stages.append(Block(members, c_in, width, 2 if stage > 0 and block == 0 else 1))
                c_in = width
        self.blocks = nn.Sequential(*stages)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.stem(x)))
        if self.large_stem:
            x = F.max_pool2d(x, 3, 2, 1)
        return split_features(self.blocks(x).mean((2, 3)), self.members)


def build(name: str, channels: int, seeds: Sequence[int]) -> ResNet:
    """A network of ``len(seeds)`` members for images of ``channels`` channels; member m is drawn from ``seeds[m]``."""
    members = len(seeds)
    makers = {
        "resnet32": lambda: ResNet(members, channels, (16, 32, 64), 5),
        "resnet18": lambda: ResNet(members, channels, (64, 128, 256, 512), 2, large_stem=True),
        "small": lambda: ResNet(members, channels, (16, 32, 64), 1),
    }
    net = makers[name]()
    initialise(net, seeds)
    return net
