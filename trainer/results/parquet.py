"""Results of ``python -m trainer.run`` as Parquet: one part a table."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from trainer.results.columns import arrow_schema, run_tables
from trainer.results.rows import RunResult
from trainer.training.checkpoint import atomic_write


def write_tables(folder: Path, results: Sequence[RunResult]) -> None:
    """Write ``folder/TABLE/part-RUN.parquet`` for each table; the same runs replace their parts."""
    name = "-".join(result.row["run_id"] for result in results[:4])
    for table, columns in run_tables().items():
        rows = [row for result in results for row in result.tables()[table]]
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema=arrow_schema(columns)), buffer, compression="zstd")
        (folder / table).mkdir(exist_ok=True)
        atomic_write(folder / table / f"part-{name}.parquet", buffer.getvalue())
