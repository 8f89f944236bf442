"""The places of trials on the cluster: how many there are now, and how many its autoscaler is asked for."""

import math
import time
from collections.abc import Callable

from ray.autoscaler import sdk

from sweeper.execution.cluster import fits, needs
from sweeper.search.space import Resources

_LOOK_EVERY_S = 2
_MOST_STATED = 1000
"""places that an autoscaler is asked for at most: it packs each of them into nodes"""


class Places:
    """A place holds one Ray trial. A cluster that this process has started itself neither grows nor shrinks."""

    def __init__(
        self,
        resources: Resources,
        most: int | None = None,
        *,
        own_cluster: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``resources`` of a place; ``most``: limit to their number (default: what the cluster holds)."""
        self._resources, self._clock = resources, clock
        self.own_cluster = own_cluster
        """no other process uses it"""
        self._most = math.inf if most is None else most
        self._stated, self._next_s = 0, -math.inf
        self.room = fits(resources)
        """trials that the nodes of the cluster can hold"""

    @property
    def now(self) -> int:
        """How many trials may run: at least one, which waits where there is no room."""
        return int(min(self._most, max(1, self.room)))

    def follow(self, wanted: Callable[[], int]) -> str | None:
        """Look at the cluster from time to time, and ask for the places that are ``wanted``, those in use included.

        Returns what to say where the number of places has changed.
        """
        if self.own_cluster or self._clock() < self._next_s:
            return None
        self._next_s = self._clock() + _LOOK_EVERY_S
        before, self.room = self.now, fits(self._resources)
        self._state(int(min(wanted(), self._most, _MOST_STATED)))
        return f"the cluster has changed: {self.now} at a time (was {before})" if self.now != before else None

    def withdraw(self) -> None:
        """Ask for nothing any more. What was asked for would otherwise keep its machines."""
        if not self.own_cluster:
            self._state(0)

    def _state(self, places: int) -> None:
        if places != self._stated:
            sdk.request_resources(bundles=[needs(self._resources)] * places)
            self._stated = places
