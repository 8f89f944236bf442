"""A network: backbone, head, and whatever parts a method adds; and what it makes of images."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self, cast

import torch
from torch import Tensor, nn

from trainer.nets.heads import Growing, Head, LinearHead
from trainer.nets.member import assign
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
    weight_MKD: Tensor | None = None
    """the classifier's rows, whose products with the features are the logits but for biases; None where they are not"""

    def images(self, span: slice, teacher: Outputs | None = None) -> Outputs:
        """Of some of the images, with what a teacher makes of them."""
        maps = Maps(
            self.maps.features_MBD[:, span], self.maps.last[span], tuple(out[span] for out in self.maps.stage_outputs)
        )
        extra = {name: tensor_MB[:, span] for name, tensor_MB in self.extra.items()}
        return Outputs(self.features_MBD[:, span], self.logits_MBK[:, span], maps, teacher, extra, self.weight_MKD)


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
            logits_MBK = self.classifier(maps.features_MBD)
        weight_MKD = self.classifier.weight_MKD if isinstance(self.classifier, LinearHead) else None
        return Outputs(maps.features_MBD, logits_MBK, maps, weight_MKD=weight_MKD)

    def grow(self, classes: int, seeds: Sequence[int], task: int) -> None:
        """Make room for new classes in every part that grows."""
        for part in self.children():
            if isinstance(part, Growing):
                part.grow(classes, seeds, task)

    def take(self, other: Network, *names: str) -> None:
        """Become a copy of another network's parts of these names, of all if none is given, whatever their shapes."""
        for name in names or [name for name, _ in other.named_children()]:
            tensors = getattr(other, name).state_dict()
            assign(getattr(self, name), {key: tensor.detach().clone() for key, tensor in tensors.items()})

    def folded(self, dtype: torch.dtype) -> Self:
        """The same parts behind a copy of the backbone that only evaluates, faster; see ``ResNet.folded``."""
        found = copy.copy(self)
        found._modules = {**self._modules, "net": self.net.folded(dtype)}
        return found

    def frozen(self) -> Self:
        """A copy that learns no more."""
        return copy.deepcopy(self).eval().requires_grad_(False)
