"""The folder of runs that were trained outside a sweep."""

from collections.abc import Sequence
from pathlib import Path

from trainer.files import atomic_write
from trainer.results.columns import run_columns
from trainer.results.config_columns import config_columns
from trainer.results.parquet import encode, to_arrow
from trainer.results.rows import RunResult


def write_results(folder: Path, results: Sequence[RunResult]) -> None:
    """Write the runs that were trained together as ``folder/runs/000000.parquet``, as a sweep stores a configuration.

    Raises OSError.
    """
    (folder / "runs").mkdir(exist_ok=True)
    table = to_arrow(results, run_columns(config_columns()))
    atomic_write(folder / "runs" / "000000.parquet", encode(table, fast=True))
