"""A network: backbone, head, and whatever parts a method adds; and what it makes of images."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self, cast

import torch
from torch import Tensor, nn

from trainer.nets.heads import Growing, Head
from trainer.nets.resnet import Maps, ResNet


class Outputs(NamedTuple):
    """What was made of a batch of images."""

    features_MBD: Tensor
    logits_MBK: Tensor
    maps: Maps
    teacher: Outputs | None = None
    """of the frozen network of the last task, over the old classes; None in the first task"""
    extra: Mapping[str, Tensor] = {}
    """whatever else a method's losses and classifiers need, by name"""


class Network(nn.Module):
    """Named parts of M members: ``net``, ``head`` and those that a method adds."""

    def __init__(self, net: ResNet, parts: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.net = net
        for name, part in parts.items():
            self.add_module(name, part)

    @property
    def classifier(self) -> Head:
        """The part ``head``."""
        return cast(Head, self.head)

    @property
    def members(self) -> int:
        return self.net.members

    def embed(self, images: Tensor) -> Maps:
        """``[B, M*C, H, W] -> Maps``, features in the head's own precision.

        Whatever autocast does to the convolutions: reweighting divides by gradient norms, some losses by less.
        """
        maps: Maps = self.net(images)
        return maps._replace(features_MBD=maps.features_MBD.to(self.classifier.weight_MKD.dtype))

    def forward(self, images: Tensor) -> Outputs:
        """Features and the head's logits."""
        maps = self.embed(images)
        with torch.autocast(images.device.type, enabled=False):
            return Outputs(maps.features_MBD, self.classifier(maps.features_MBD), maps)

    def grow(self, classes: int, seeds: Sequence[int], task: int) -> None:
        """Make room for new classes in every part that grows."""
        for part in self.children():
            if isinstance(part, Growing):
                part.grow(classes, seeds, task)

    def frozen(self) -> Self:
        """A copy that learns no more."""
        return copy.deepcopy(self).eval().requires_grad_(False)
