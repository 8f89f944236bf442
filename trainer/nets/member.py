"""M networks computed side by side; the only file that knows how.

Images and activations are ``[B, M*C, H, W]``, channel block m belonging to member m. Convolution runs with
``groups=M``, batch norm over ``M*C`` channels is per member by nature, the head is a batched matmul. Every
parameter and buffer leads with ``[M, ...]``, so that a member can be taken out, or joined with others, by
indexing alone. One network is M = 1.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from trainer.rng import stream

Init = Literal["fan_out", "fan_in", "fan_out_wide_head"]
"""what the spread of initial weights is taken from"""
BATCH_NORM_EPS = 1e-5
_ALONE_FROM_PIXELS = 1 << 14
"""pixels in one member's batch"""


class MemberConv2d(nn.Module):
    """M convolutions without bias. ``[B, M*Cin, H, W] -> [B, M*Cout, H', W']``.

    The weight is ``[M, Cout, k, k, Cin]``, as convolutions of channels-last images read and return it: in any other
    order every step copies weights before, and gradients after, each of them.
    """

    def __init__(self, members: int, c_in: int, c_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.stride, self.padding = stride, kernel // 2
        self.weight = nn.Parameter(torch.empty(members, c_out, kernel, kernel, c_in))

    def forward(self, x: Tensor) -> Tensor:
        return _convolve(x, self.weight, None, self.stride, self.padding)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    """``weight``: ``[M, Cout, k, k, Cin]``; ``bias``: ``[M*Cout]``."""
    channels_last = weight.flatten(0, 1).permute(0, 3, 1, 2)
    return F.conv2d(x, channels_last, bias, stride=stride, padding=padding, groups=weight.shape[0])


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
        weight, bias, mean, var = (t.view(-1) for t in (self.weight, self.bias, self.running_mean, self.running_var))
        training = self.training
        if x[:, 0].numel() == 1:  # a value alone has no spread: the last image, in a map of one pixel
            training = False
        return F.batch_norm(x, mean, var, weight, bias, training=training, eps=BATCH_NORM_EPS)


class FoldedConv2d(nn.Module):
    """M convolutions with the batch norm behind each, as it is in evaluation mode: one pass instead of two.

    ``dtype``: of the weights; autocast has none to cast where it is the one that it casts to.
    """

    weight: Tensor
    bias: Tensor

    @torch.no_grad()
    def __init__(self, conv: MemberConv2d, norm: MemberBatchNorm2d, dtype: torch.dtype) -> None:
        super().__init__()
        self.stride, self.padding = conv.stride, conv.padding
        scale_MC = norm.weight * (norm.running_var + BATCH_NORM_EPS).rsqrt()
        self.register_buffer("weight", (conv.weight * scale_MC[:, :, None, None, None]).to(dtype))
        self.register_buffer("bias", (norm.bias - norm.running_mean * scale_MC).to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        return _convolve(x, self.weight, self.bias.flatten(), self.stride, self.padding)


def better_alone(x: Tensor, members: int) -> bool:
    """Whether ``each_alone`` is the faster way for images ``x [B, M*C, H, W]``.

    It is on a CPU, where grouped convolution is slow, once the images are so large that not the calls but the
    convolutions take the time.
    """
    large = x.shape[0] * x.shape[2] * x.shape[3] >= _ALONE_FROM_PIXELS
    return members > 1 and large and not x.is_cuda and not torch.compiler.is_compiling()


def each_alone(net: nn.Module, x: Tensor, members: int) -> list[Any]:
    """What ``net`` makes of its channels of ``x [B, M*C, H, W]``, for one member after another."""
    # split: one backward pass puts the gradients of all members together
    tensors = {name: t.split(1) for name, t in itertools.chain(net.named_parameters(), net.named_buffers())}
    found = []
    for member, pixels in enumerate(x.chunk(members, 1)):
        own = {name: parts[member] for name, parts in tensors.items()}
        images = pixels.contiguous(memory_format=torch.channels_last)
        found.append(functional_call(net, own, (images,), tie_weights=False))
    return found


def member_linear(x_MBD: Tensor, weight_MKD: Tensor, bias_MK: Tensor) -> Tensor:
    """M linear layers. ``[M, B, D] -> [M, B, K]``."""
    return torch.baddbmm(bias_MK.unsqueeze(1), x_MBD, weight_MKD.transpose(1, 2))


def member_pool(x: Tensor, members: int) -> Tensor:
    """Global average pool ``[B, M*D, h, w] -> [M, B, D]``."""
    return x.mean((2, 3)).unflatten(1, (members, -1)).transpose(0, 1)


def pad_channels(x: Tensor, channels: int, pad: int) -> Tensor:
    """``pad`` channels of zeros on both sides of each member's: ``[B, M*C, H, W] -> [B, M*(C + 2 pad), H, W]``."""
    return F.pad(x.unflatten(1, (-1, channels)), (0, 0, 0, 0, pad, pad)).flatten(1, 2)


def repeat_images(x_BCHW: Tensor, members: int) -> Tensor:
    """The same images for every member: ``[B, C, H, W] -> [B, M*C, H, W]``."""
    return x_BCHW.repeat(1, members, 1, 1)


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


@torch.no_grad()
def initialise(net: nn.Module, seeds: Sequence[int], init: Init = "fan_out", drawn_as: str = "") -> None:
    """Draw the weights of member m from ``seeds[m]``, whatever the other members are: Kaiming normal, ReLU."""
    where = ("init", drawn_as) if drawn_as else ("init",)
    for path, module in net.named_modules():
        if isinstance(module, MemberConv2d):
            _, c_out, k, _, c_in = module.weight.shape
            deviation = math.sqrt(2.0 / ((c_in if init == "fan_in" else c_out) * k * k))
            for member, seed in enumerate(seeds):
                drawn = torch.empty(c_out, c_in, k, k)
                drawn.normal_(0.0, deviation, generator=stream(seed, *where, path))
                module.weight[member] = drawn.permute(0, 2, 3, 1)
