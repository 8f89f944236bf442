"""What a budget still has room for: nothing is begun that would go beyond it."""

import math
from statistics import fmean

from sweeper.execution.progress import Progress
from sweeper.search.space import Budget


class Room:
    """The room that is left, judged by what has ended: configurations by device time, packs by wall time.

    Until one has ended there is room as long as the budget is not spent.
    """

    def __init__(self, budget: Budget, progress: Progress) -> None:
        self._budget, self._progress = budget, progress
        self._packs_s: list[float] = []

    def note(self, pack_s: float) -> None:
        """A pack of this launch has ended, so many seconds after it began."""
        self._packs_s.append(pack_s)

    def left(self, in_training: int) -> bool:
        """Whether another configuration can be begun beside so many that have not ended."""
        return self._device_room(in_training) and self._wall_room()

    def _device_room(self, in_training: int) -> bool:
        limit_s = 3600 * (self._budget.device_hours or math.inf)
        spent_s, done = self._progress.status.device_s, self._progress.status.done
        each_s = spent_s / done if done else 0.0
        return spent_s < limit_s and spent_s + each_s * (in_training + 1) <= limit_s

    def _wall_room(self) -> bool:
        limit_s, passed_s = 3600 * (self._budget.wall_hours or math.inf), 3600 * self._progress.elapsed_hours()
        return passed_s < limit_s and passed_s + (fmean(self._packs_s) if self._packs_s else 0.0) <= limit_s
