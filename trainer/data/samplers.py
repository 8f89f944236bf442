"""In which order an epoch visits the images of a pool: positions in the pool, on the CPU, member by member.

``labels_MN``: of the pool's images, on the CPU. The loop cuts what comes back into batches.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from trainer.rng import MemberStreams

Sampler = Callable[[Tensor, MemberStreams], Tensor]
"""``(labels_MN, streams) -> positions [M, N']``"""


def shuffled(labels_MN: Tensor, streams: MemberStreams) -> Tensor:
    """Every image once."""
    return streams.permutation("shuffle", labels_MN.shape[1])


def oversampled(labels_MN: Tensor, streams: MemberStreams, *, power: float = 1.0, use: str = "shuffle") -> Tensor:
    """As many draws as images, with replacement, an image of class k with probability ~ 1 / n_k**power.

    Power 1: every class as often as any other (random over-sampling, Van Hulse et al., ICML 2007).
    """

    def draw(labels_N: Tensor, generator: torch.Generator) -> Tensor:
        weight_N = torch.bincount(labels_N).double()[labels_N] ** -power
        return torch.multinomial(weight_N, len(labels_N), replacement=True, generator=generator)

    return _by_member(draw, labels_MN, streams, use)


def duplicated(labels_MN: Tensor, streams: MemberStreams) -> Tensor:
    """Repeat every class's images until it has as many as the largest class, then shuffle."""

    def draw(labels_N: Tensor, generator: torch.Generator) -> Tensor:
        order_N, starts_C, counts_C = _by_class(labels_N, generator)
        item_J = torch.arange(int(counts_C.max()) if len(counts_C) else 0)
        again_N = order_N[(starts_C[:, None] + item_J % counts_C[:, None]).flatten()]
        return again_N[torch.randperm(len(again_N), generator=generator)]

    return _by_member(draw, labels_MN, streams)


def class_aware(labels_MN: Tensor, streams: MemberStreams, *, images_per_visit: int = 4) -> Tensor:
    """Take the next class of a shuffled cycle, and ``images_per_visit`` of its images, cycled too; as many as images.

    Liu et al., "Long-Tailed Class-Incremental Learning", ECCV 2022, stage 2.
    """

    def draw(labels_N: Tensor, generator: torch.Generator) -> Tensor:
        order_N, starts_C, counts_C = _by_class(labels_N, generator)
        images, classes = len(labels_N), len(counts_C)
        visits = -(-images // (images_per_visit * classes))
        cycle_VC = torch.stack([torch.randperm(classes, generator=generator) for _ in range(visits)])
        item_VJ = torch.arange(visits * images_per_visit).view(visits, 1, images_per_visit)
        offset_VCJ = item_VJ % counts_C[cycle_VC].unsqueeze(2)
        return order_N[(starts_C[cycle_VC].unsqueeze(2) + offset_VCJ).flatten()[:images]]

    return _by_member(draw, labels_MN, streams)


def mixed(
    labels_MN: Tensor, streams: MemberStreams, *, old: int, new_a_batch: int, old_a_batch: int, drop_last: bool = False
) -> Tensor:
    """Batches of ``new_a_batch`` new images, then ``old_a_batch`` exemplars: every new image once, exemplars cycled.

    The last batch keeps the proportion, or is left out. ``old``: classes of earlier tasks. (SS-IL, Ahn et al., ICCV
    2021.)
    """

    def draw(labels_N: Tensor, generator: torch.Generator) -> Tensor:
        new_n, old_n = (labels_N >= old).nonzero().squeeze(1), (labels_N < old).nonzero().squeeze(1)
        new_n = new_n[torch.randperm(len(new_n), generator=generator)]
        if not len(old_n):
            return new_n
        whole, rest = divmod(len(new_n), new_a_batch)
        wanted = whole * old_a_batch + -(-rest * old_a_batch // new_a_batch)
        cycles = -(-wanted // len(old_n))
        shuffles = [old_n[torch.randperm(len(old_n), generator=generator)] for _ in range(cycles)]
        old_n = torch.cat([*shuffles, old_n[:0]])[:wanted]
        new_end, old_end = whole * new_a_batch, whole * old_a_batch
        full = torch.cat([new_n[:new_end].view(whole, new_a_batch), old_n[:old_end].view(whole, old_a_batch)], dim=1)
        return torch.cat([full.flatten(), new_n[new_end:], old_n[old_end:]])

    order_MN = _by_member(draw, labels_MN, streams)
    batch = new_a_batch + old_a_batch
    return order_MN[:, : order_MN.shape[1] // batch * batch] if drop_last else order_MN


def _by_member(
    draw: Callable[[Tensor, torch.Generator], Tensor], labels_MN: Tensor, streams: MemberStreams, use: str = "shuffle"
) -> Tensor:
    """What ``draw`` makes of each member's labels and its own generator, ``[M, N']``."""
    members = zip(labels_MN, streams.generators(use), strict=True)
    return torch.stack([draw(labels_N, generator) for labels_N, generator in members])


def _by_class(labels_N: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Positions with each class's side by side, shuffled within it; where each class begins; how many it has."""
    # A stable sort by class of a shuffle.
    order_N = torch.randperm(len(labels_N), generator=generator)
    order_N = order_N[torch.argsort(labels_N[order_N], stable=True)]
    _, counts_C = torch.unique(labels_N, return_counts=True)
    return order_N, counts_C.cumsum(0) - counts_C, counts_C
