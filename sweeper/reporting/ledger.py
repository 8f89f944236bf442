"""What a sweep has cost and saved."""

from typing import Self

from sweeper.store.results import Tables
from sweeper.store.schema import LedgerRow


class Ledger(LedgerRow):
    """The row of one sweep in the view ``ledger``; docs/results_schema.md explains its columns."""

    @classmethod
    def of(cls, results: Tables, sweep: str) -> Self:
        """The row of a sweep."""
        (row,) = results.sql("SELECT * FROM ledger WHERE sweep = $sweep", sweep=sweep).rows()
        return cls(**row)

    def __str__(self) -> str:
        saved = {
            "shared first tasks": self.sharing_s,
            "pruning": self.pruning_s,
            "packs": self.packing_s,
            "the store": self.store_s,
        }
        named = ", ".join(f"{seconds:.0f} by {what}" for what, seconds in saved.items() if round(seconds) > 0)
        lost = "".join(f"; lost: {-seconds:.0f} by {what}" for what, seconds in saved.items() if round(seconds) < 0)
        return f"{self.spent_s:.0f} device seconds spent; saved: {named or 'none'}{lost}"
