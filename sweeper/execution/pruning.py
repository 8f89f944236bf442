"""How the driver tells a trial which of its configurations are pruned: Tune's reports go one way only."""

from __future__ import annotations

from typing import Any

import ray


class Mailbox:
    """Lives where the driver lives. What is put is taken once."""

    def __init__(self) -> None:
        self._pruned: dict[tuple[str, int], list[int]] = {}

    def put(self, pack: str, task: int, numbers: list[int]) -> None:
        """Note what of a pack is pruned after a task."""
        self._pruned[pack, task] = numbers

    def take(self, pack: str, task: int) -> list[int]:
        """Numbers of the configurations to drop."""
        return self._pruned.pop((pack, task), [])


def open_mailbox(name: str) -> Any:
    """Start a mailbox under a name that trials find it by; it ends with the handle."""
    return ray.remote(Mailbox).options(name=name, num_cpus=0).remote()
