"""Mixed images, every member's own: a box of one pasted into another, or two blended.

CMO (Park et al., "The Majority Can Help the Minority", CVPR 2022): the background is an ordinary batch, the patch an
image drawn with probability ~ 1 / n_y**power, so that rare objects meet many backgrounds. Mixup (Zhang et al., "mixup:
Beyond Empirical Risk Minimization", ICLR 2018): each image blended with another of its batch.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor

from trainer.data.samplers import oversampled
from trainer.rng import MemberStreams


@dataclass(frozen=True)
class BoxMix:
    """When and how often batches are mixed."""

    probability: float | Tensor
    """that a batch is mixed; or each member's own, ``[M]``"""
    first_epoch: int
    stop_epoch: int
    """mixed are the epochs ``first_epoch .. stop_epoch - 1``"""
    power: float = 1.0

    def active(self, epoch: int) -> bool:
        return self.first_epoch <= epoch < self.stop_epoch

    def partners(self, labels_MN: Tensor, streams: MemberStreams) -> Tensor:
        """Which image goes into which: positions ``[M, N]``."""
        return oversampled(labels_MN, streams, power=self.power, use="partner")

    def uniforms(self, streams: MemberStreams, batches: int) -> Tensor:
        """What the boxes of an epoch's batches are drawn from, ``[M, batches, 4]``."""
        return streams.uniform("box", batches, 4)

    def paste(self, images: Tensor, partners: Tensor, uniforms_M4: Tensor) -> tuple[Tensor, Tensor]:
        """``[B, M*C, H, W]`` with one box a member pasted from ``partners``, and the share ``[M]`` that is left.

        The box has the area 1 - l with l uniform, its centre is a pixel; what lies outside of the image is cut off, and
        the share is that of the pixels.
        """
        height, width = images.shape[2:]
        coin_M, area_M, y_M, x_M = uniforms_M4.unbind(1)
        side_M = (1 - area_M).sqrt() * (coin_M < self.probability)
        inside_MH = _span(y_M, side_M, height)
        inside_MW = _span(x_M, side_M, width)
        box_MHW = inside_MH[:, :, None] & inside_MW[:, None, :]
        members = len(box_MHW)
        box = box_MHW.repeat_interleave(images.shape[1] // members, 0)
        share_M = 1 - box_MHW.flatten(1).to(torch.float64).mean(1)
        return torch.where(box, partners, images), share_M


class Mixup(NamedTuple):
    """With whom the images of an epoch's batches are blended, and how much."""

    key_MN: Tensor
    """whose order within a batch is a permutation of it"""
    share_MS: Tensor
    """the part of an image itself in each batch: uniform, which is Beta(1, 1)"""

    @classmethod
    def drawn(cls, streams: MemberStreams, images: int, batches: int, device: torch.device) -> Self:
        key_MN, share_MS = streams.uniform("mixup-partner", images), streams.uniform("mixup", batches)
        return cls(key_MN.to(device), share_MS.to(device))

    def batch(self, number: int, span: slice) -> tuple[Tensor, Tensor]:
        """Positions of the partners in the batch ``[M, B]``, and the part of an image itself ``[M]``."""
        return self.key_MN[:, span].argsort(1), self.share_MS[:, number]


def blended(images: Tensor, order_MB: Tensor, share_M: Tensor) -> Tensor:
    """``share x_b + (1 - share) x_order(b)``, ``[B, M*C, H, W]``."""
    members = len(share_M)
    x_BMCHW = images.unflatten(1, (members, -1))
    partner_BMCHW = x_BMCHW[order_MB.T, torch.arange(members, device=images.device)]
    share = share_M.to(images.dtype).view(1, members, 1, 1, 1)
    mixed = (share * x_BMCHW + (1 - share) * partner_BMCHW).flatten(1, 2)
    return mixed.contiguous(memory_format=torch.channels_last)


def _span(centre_M: Tensor, side_M: Tensor, pixels: int) -> Tensor:
    """Which pixels of an axis lie in the box, ``[M, pixels]``."""
    half_M = (pixels * side_M).floor().to(torch.int64) // 2
    centre_M = (centre_M * pixels).floor().to(torch.int64)
    pixel = torch.arange(pixels, device=centre_M.device)
    return (pixel >= (centre_M - half_M)[:, None]) & (pixel < (centre_M + half_M)[:, None])
