"""Every random draw has a name: the same name gives the same numbers, in any order, in any process.

Nothing here touches a global generator, and nothing has to be saved in a checkpoint: a draw is
found again from its name. All generators live on the CPU, so a run on another device sees the
same shuffles, crops and initial weights.
"""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor


def stream(seed: int, *where: str | int) -> torch.Generator:
    """A fresh CPU generator for one named use, e.g. ``stream(seed, "shuffle", task, epoch)``."""
    name = "/".join(str(part) for part in (seed, *where))
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


@dataclass(frozen=True)
class MemberStreams:
    """The random streams of M members at one place of a run, such as an epoch. All on the CPU."""

    seeds: tuple[int, ...]
    """seeds of the members"""
    where: tuple[str | int, ...]

    def generators(self, use: str) -> list[torch.Generator]:
        """One a member, for one use."""
        return [stream(seed, use, *self.where) for seed in self.seeds]

    def uniform(self, use: str, *shape: int) -> Tensor:
        """``[M, *shape]`` in [0, 1)."""
        return torch.stack([torch.rand(*shape, generator=generator) for generator in self.generators(use)])

    def permutation(self, use: str, n: int) -> Tensor:
        """A shuffle of ``0 .. n-1`` for every member, ``[M, n]``."""
        return torch.stack([torch.randperm(n, generator=generator) for generator in self.generators(use)])
