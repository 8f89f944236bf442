"""Every table and view of a sweep as a CSV file."""

from pathlib import Path

from sweeper.exports.source import Source
from sweeper.store import schema
from sweeper.store.folder import Folder
from trainer import tables


def write(source: Source, place: str) -> str:
    """Write ``PLACE/SWEEP/TABLE.csv`` for every table, each atomically. Raises OSError, StoreError."""
    folder = Folder.at(Path(place)).child(source.name)
    with source.results.snapshot() as now:
        for name in schema.ABOUT:
            folder.write(f"{name}.csv", tables.as_bytes(now.sql(f"FROM {name}").arrow(), "csv"))
    return f"csv: {folder}: {', '.join(schema.ABOUT)}"
