"""What a sweep has cost and what it was spared, in device seconds, from its stored rows."""

from __future__ import annotations

from dataclasses import dataclass

from sweeper.query import Results


@dataclass(frozen=True)
class Ledger:
    """A row of the view ``ledger``, whose columns say more."""

    spent_s: float
    sharing_s: float
    pruning_s: float
    packing_s: float
    store_s: float

    @classmethod
    def of(cls, results: Results, sweep: str) -> Ledger:
        """Of one sweep of ``results``."""
        query = f"SELECT spent_s, sharing_s, pruning_s, packing_s, store_s FROM ledger WHERE sweep = '{sweep}'"
        (row,) = results.sql(query).arrow().to_pylist()
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
