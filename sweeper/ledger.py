"""What a sweep has cost and what it was spared, in device seconds, from its stored rows."""

from __future__ import annotations

from dataclasses import dataclass

from sweeper.query import Results


@dataclass(frozen=True)
class Ledger:
    """Device seconds, all runs of a sweep together."""

    spent_s: float
    sharing_s: float
    """first tasks taken over from another run"""
    store_s: float
    """whole runs answered from what another sweep has stored"""
    pruning_s: float
    """tasks that pruned runs did not train, each at the mean of the runs that did; 0 while none has"""
    packing_s: float
    """what the runs would have taken more alone, from the time of a step alone and together; 0 if not measured"""

    @classmethod
    def of(cls, results: Results, sweep: str) -> Ledger:
        """Of one sweep of ``results``."""
        (row,) = results.sql(_SQL.format(sweep=sweep)).arrow().to_pylist()
        return cls(**row)

    def __str__(self) -> str:
        saved = {
            "shared first tasks": self.sharing_s,
            "pruning": self.pruning_s,
            "packs": self.packing_s,
            "the store": self.store_s,
        }
        named = ", ".join(f"{seconds:.0f} by {what}" for what, seconds in saved.items() if seconds)
        return f"{self.spent_s:.0f} device seconds spent; saved: {named or 'none'}"


_SQL = """
WITH own AS (SELECT * FROM trials WHERE sweep = '{sweep}'),
cost AS (
    SELECT task, avg(device_s + saved_s) AS mean_s FROM tasks
    WHERE sweep = '{sweep}' AND run_id IN (SELECT run_id FROM own WHERE status = 'finished') GROUP BY task
)
SELECT
    coalesce(sum(device_s), 0) AS spent_s,
    coalesce(sum(saved_s) FILTER (WHERE attempt <> 'from-store'), 0) AS sharing_s,
    coalesce(sum(saved_s) FILTER (WHERE attempt = 'from-store'), 0) AS store_s,
    coalesce(sum((SELECT sum(mean_s) FROM cost WHERE task >= own.tasks_done)) FILTER (WHERE status = 'pruned'), 0)
        AS pruning_s,
    coalesce(sum(packing_saved_s), 0) AS packing_s
FROM own
"""
