"""The cost of a sweep and what it saved, in device seconds."""

from dataclasses import dataclass
from typing import Self

from sweeper.store.results import Results


@dataclass(frozen=True)
class Ledger:
    """One row of the view ``ledger``; docs/results_schema.md explains its columns."""

    spent_s: float
    sharing_s: float
    pruning_s: float
    packing_s: float
    store_s: float

    @classmethod
    def of(cls, results: Results, sweep: str) -> Self:
        """The row of one sweep."""
        query = "SELECT spent_s, sharing_s, pruning_s, packing_s, store_s FROM ledger WHERE sweep = $sweep"
        (row,) = results.sql(query, sweep=sweep).rows()
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
