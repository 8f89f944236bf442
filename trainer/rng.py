"""Every random draw has a name: the same name gives the same numbers, in any order, in any process.

Nothing here touches a global generator, and nothing has to be saved in a checkpoint: a draw is
found again from its name. All generators live on the CPU, so a run on another device sees the
same shuffles, crops and initial weights.
"""

from __future__ import annotations

import hashlib

import torch


def stream(seed: int, *where: str | int) -> torch.Generator:
    """A fresh CPU generator for one named use, e.g. ``stream(seed, "shuffle", task, epoch)``."""
    name = "/".join(str(part) for part in (seed, *where))
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
