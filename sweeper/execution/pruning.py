"""What a driver has decided to prune, for its workers: the reports of Ray Tune only go the opposite way.

It imports nothing of the trainer, so that the actor's process starts in a moment.
"""

from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


class PruneDecisions:
    """Decisions by pack and task. One that is published stays: a trial of a node that hung may fetch it as well as
    the one that replaced it.
    """

    def __init__(self) -> None:
        self._pruned: dict[tuple[str, int], list[int]] = {}

    def publish(self, pack: str, task: int, numbers: list[int]) -> None:
        """Decide which trials of a pack are pruned after a task."""
        if numbers:
            self._pruned[pack, task] = numbers

    def fetch(self, pack: str, task: int) -> list[int]:
        """Numbers of the trials to drop."""
        return self._pruned.get((pack, task), [])


def start_decisions() -> Any:
    """The handle of an actor ``PruneDecisions`` on the driver's node.

    Ray would put one that needs no resources on any node, and the sweep would end with that.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(PruneDecisions).options(num_cpus=0, scheduling_strategy=here).remote()
