"""Pass pruning decisions from the driver to workers, as the reports of Ray Tune only go the opposite way."""

from typing import Any

import ray


class PruneDecisions:
    """An actor on the driver's node. What is published is fetched once."""

    def __init__(self) -> None:
        self._pruned: dict[tuple[str, int], list[int]] = {}

    def publish(self, pack: str, task: int, numbers: list[int]) -> None:
        """Decide which trials of a pack are pruned after a task."""
        self._pruned[pack, task] = numbers

    def fetch(self, pack: str, task: int) -> list[int]:
        """Numbers of the trials to drop."""
        return self._pruned.pop((pack, task), [])


def start_decisions(name: str) -> Any:
    """Start the actor under a name that workers find it by; it ends with the handle."""
    return ray.remote(PruneDecisions).options(name=name, num_cpus=0).remote()


def fetch(name: str, pack: str, task: int) -> list[int]:
    """In a worker: numbers of the trials of its pack to drop after a task."""
    numbers: list[int] = ray.get(ray.get_actor(name).fetch.remote(pack, task))
    return numbers
