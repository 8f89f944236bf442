"""The last requests to a sweep, as a table: what people asked of it and what its driver made of that."""

from collections.abc import Mapping
from typing import Any

from sweeper.store.results import Tables
from trainer import tables

_SHOWN = 5


def print_steering(results: Tables, sweep: str) -> None:
    """Print the last few requests; nothing if there are none."""
    newest = f"SELECT * FROM steering WHERE sweep = $sweep ORDER BY number DESC LIMIT {_SHOWN}"
    rows = [
        [
            str(row["number"]),
            f"{row['requested_at']:%Y-%m-%d %H:%M:%S}",
            row["requested_by"],
            _asked(row),
            " ".join(filter(None, [row["state"], row["reason"]])),
        ]
        for row in reversed(results.sql(newest, sweep=sweep).rows())
    ]
    if rows:
        tables.print_table(("steering", "at (UTC)", "by", "request", "state"), rows)


def _asked(row: Mapping[str, Any]) -> str:
    trial = "" if row["trial"] is None else f"trial {row['trial']}"
    total = "" if row["trials"] is None else str(row["trials"])
    return " ".join(filter(None, [row["action"], row["params_json"], trial, total, row["text"]]))
