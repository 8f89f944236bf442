"""Exemplar memory: which images of old classes are kept. Indices into the training images, never copies.

All members keep the same number of images of a class, but each its own. Old classes are not chosen again: of a list
that is best first, a shorter one is the beginning.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from trainer.rng import stream
from trainer.section import Section

_TIE = 1e-6
"""squared distances closer than this part of the class's variance are equal, and the first image is taken: of two
images both are as near to their mean, and rounding, which differs from machine to machine, must not choose"""


class MemoryConfig(Section):
    """Exemplars kept of each old class."""

    per_class: int = Field(20, ge=0, le=100_000, description="exemplars kept of each class; without effect with total")
    total: int | None = Field(
        None,
        ge=0,
        le=10_000_000,
        description="exemplars kept in all, the same number of each class seen; null: per_class of each",
    )
    selection: Literal["herding", "random"] = Field("herding", description="how exemplars are chosen")

    def quota(self, classes: int) -> int:
        """Exemplars of each class once so many have been seen. A class that has fewer images keeps them all."""
        return self.per_class if self.total is None else self.total // max(1, classes)


class Candidates(NamedTuple):
    """The images of a task's classes, padded to the largest class. c classes, n = images of the largest."""

    index_cn: Tensor
    """positions in the task's list of images; 0 where padded"""
    real_cn: Tensor
    """False where padded"""

    @classmethod
    def of(cls, labels_N: Tensor, first: int, stop: int) -> Self:
        """From the labels of a task's images, classes ``first .. stop - 1``."""
        order_N = torch.argsort(labels_N, stable=True)
        counts_c = torch.bincount(labels_N - first, minlength=stop - first)
        starts_c = counts_c.cumsum(0) - counts_c
        slot_n = torch.arange(int(counts_c.max()), device=labels_N.device)
        real_cn = slot_n < counts_c[:, None]
        return cls(order_N[(starts_c[:, None] + slot_n).clamp_max(len(order_N) - 1)].where(real_cn, 0), real_cn)

    def at(self, slots_Mck: Tensor) -> Tensor:
        """Positions of the images in these slots, best first, without padding: ``[M, E]``, class by class."""
        rank_k = torch.arange(slots_Mck.shape[2], device=slots_Mck.device)
        is_real_ck = rank_k < self.real_cn.sum(1, keepdim=True)
        return self.index_cn.expand(len(slots_Mck), -1, -1).gather(2, slots_Mck)[:, is_real_ck]


def herding(features_MND: Tensor, candidates: Candidates, keep: int) -> Tensor:
    """Greedy choice of the images whose mean stays nearest the class mean (Rebuffi et al., iCaRL, CVPR 2017, Alg. 4).

    Features are L2-normalised, the mean is not. Returns positions in the task's list ``[M, E]``, class by class, best
    first: ``keep`` of each class, or all that it has.
    """
    real = candidates.real_cn[None, :, :, None]
    counts = real.sum(2, keepdim=True)
    apart = F.normalize(features_MND, dim=2)[:, candidates.index_cn] * real
    for _ in range(2):  # the first mean is as exact as the features are, the second as their small differences
        apart = (apart - apart.sum(2, keepdim=True) / counts) * real
    tie = _TIE * (apart.square().sum(2, keepdim=True) / counts).sum(3)
    taken = (~candidates.real_cn).expand(len(apart), -1, -1).clone()
    total = torch.zeros_like(apart[:, :, :1])
    picks = torch.zeros_like(taken[..., :keep], dtype=torch.int64)
    for k in range(picks.shape[2]):
        # k + 1 times the distance between the class mean and that of the k images taken and this one
        distance = (apart + total).square().sum(3).masked_fill(taken, torch.inf)
        pick = (distance <= distance.amin(2, keepdim=True) + tie).to(torch.uint8).argmax(2, keepdim=True)
        taken.scatter_(2, pick, True)
        total = total + apart.gather(2, pick.unsqueeze(3).expand(-1, -1, 1, apart.shape[3]))
        picks[..., k : k + 1] = pick
    return candidates.at(picks)


def random(candidates: Candidates, keep: int, seeds: Sequence[int], task: int) -> Tensor:
    """A uniform choice, member m by ``seeds[m]``. Returns ``[M, E]`` like ``herding``."""
    shape = candidates.index_cn.shape
    keys = torch.stack([torch.rand(shape, generator=stream(seed, "exemplars", task)) for seed in seeds])
    keys = keys.to(candidates.index_cn.device).masked_fill(~candidates.real_cn, -1)
    return candidates.at(keys.topk(min(keep, shape[1]), dim=2).indices)


def reduce(exemplars_ME: Tensor, labels_A: Tensor, keep: int) -> Tensor:
    """The first ``keep`` exemplars of each class, or all that it has. ``labels_A``: of all training images."""
    _, counts_c = labels_A[exemplars_ME[0]].unique_consecutive(return_counts=True)
    starts_E = (counts_c.cumsum(0) - counts_c).repeat_interleave(counts_c)
    rank_E = torch.arange(len(starts_E), device=starts_E.device) - starts_E
    return exemplars_ME[:, rank_E < keep]
