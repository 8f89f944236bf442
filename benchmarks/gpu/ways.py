"""Ways to compute M members in one step: the two of ``trainer.nets.member``, and others that could take their place."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from trainer.nets import resnet
from trainer.nets.resnet import Maps

GROUPED, ALONE = "grouped convolution", "one after another"


@contextlib.contextmanager
def _whole(alone: bool) -> Iterator[None]:
    """Within: all members in one pass, or one after another, whatever the device."""
    with mock.patch.object(resnet, "better_alone", lambda x, members: alone and members > 1):
        yield


@contextlib.contextmanager
def _convolving(convolve: Callable[..., Tensor]) -> Iterator[None]:
    """Within: all members in one pass of other convolutions."""
    with _whole(alone=False), mock.patch.object(F, "conv2d", convolve):
        yield


@contextlib.contextmanager
def _vmapped() -> Iterator[None]:
    with _whole(alone=True), mock.patch.object(resnet, "each_alone", _each_by_vmap):
        yield


def _each_by_vmap(net: nn.Module, x: Tensor, members: int) -> list[Maps]:
    """What ``each_alone`` returns, by one pass over a batch of networks."""
    tensors = {name: tensor.unsqueeze(1) for name, tensor in (*net.named_parameters(), *net.named_buffers())}

    def one(own: dict[str, Tensor], pixels: Tensor) -> Any:
        return functional_call(net, own, (pixels,), tie_weights=False)

    found = torch.vmap(one)(tensors, x.unflatten(1, (members, -1)).transpose(0, 1))
    return [
        Maps(found.features_MBD[m], found.last[m], tuple(output[m] for output in found.stage_outputs))
        for m in range(members)
    ]


def _channels_first(x: Tensor, weight: Tensor, *arguments: Any, **options: Any) -> Tensor:
    """The convolution of a library that reads ``[B, C, H, W]`` in that order."""
    found: Tensor = _conv2d(x.contiguous(), weight.contiguous(), *arguments, **options)
    return found


def _by_products(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int = 1, padding: int = 0, groups: int = 1
) -> Tensor:
    """The convolution as a matrix product an image and member, of its patches."""
    kernel = weight.shape[2]
    height, width = ((side + 2 * padding - kernel) // stride + 1 for side in x.shape[2:])
    patches = F.unfold(x, kernel, padding=padding, stride=stride).unflatten(1, (groups, -1))
    found = (weight.flatten(1).unflatten(0, (groups, -1)) @ patches).flatten(1, 2).unflatten(2, (height, width))
    return found if bias is None else found + bias.to(found.dtype).view(-1, 1, 1)


_conv2d = F.conv2d

WAYS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    GROUPED: lambda: _whole(alone=False),
    ALONE: lambda: _whole(alone=True),
    "grouped, channels first": lambda: _convolving(_channels_first),
    "matrix products of patches": lambda: _convolving(_by_products),
    "vmap": _vmapped,
}
"""contexts in which steps are made and repeated"""

OF_ONE = (GROUPED, "grouped, channels first", "matrix products of patches")
"""those that differ for a single member"""
