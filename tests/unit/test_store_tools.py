"""Anyone's tools on the files of runs: every column is there, of the documented type, and no row is there twice."""

from collections.abc import Callable
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from support.results import accuracy, store_trials
from sweeper.store import schema
from sweeper.store.store import Store


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sweeps of different methods: one of single files, one merged but for its last trial."""
    folder = tmp_path_factory.mktemp("tools")
    store_trials(Store(folder, "plain"), range(3), method="finetune")
    merged = Store(folder, "merged")
    store_trials(merged, range(4), method="gradient_reweighting")
    merged.compact()
    store_trials(merged, [4], method="icarl")
    return folder


def files(results: Path) -> list[str]:
    return sorted(map(str, results.glob("*/runs/*.parquet")))


def by_duckdb(results: Path) -> pa.Table:
    return duckdb.sql(f"FROM read_parquet('{results}/*/runs/*.parquet')").to_arrow_table()


def by_pandas(results: Path) -> pa.Table:
    return pa.Table.from_pandas(pd.concat([pd.read_parquet(f, dtype_backend="pyarrow") for f in files(results)]))


def by_polars(results: Path) -> pa.Table:
    return pl.scan_parquet(f"{results}/*/runs/*.parquet").collect().to_arrow()


def by_pyarrow(results: Path) -> pa.Table:
    return ds.dataset(files(results)).to_table()


TOOLS = [by_duckdb, by_pandas, by_polars, by_pyarrow]


@pytest.mark.parametrize("tool", TOOLS)
def test_every_column_is_there_and_every_row_once(results: Path, tool: Callable[[Path], pa.Table]) -> None:
    table = tool(results)
    assert [name for name in table.column_names if not name.startswith("__")] == [
        column.name for column in schema.file_columns()
    ]
    found = table.select(["sweep", "trial", "seed", "acc_task_mean_pct", "method_name"]).to_pylist()
    expected = [
        {
            "sweep": sweep,
            "trial": trial,
            "seed": seed,
            "acc_task_mean_pct": accuracy(trial, seed),
            "method_name": method,
        }
        for sweep, trial, method in [
            *(("merged", trial, "gradient_reweighting") for trial in range(4)),
            ("merged", 4, "icarl"),
            *(("plain", trial, "finetune") for trial in range(3)),
        ]
        for seed in (0, 1)
    ]
    assert sorted(found, key=lambda r: (r["sweep"], r["trial"], r["seed"])) == expected
    assert [len(row) for row in table["tasks"].to_pylist()] == [2] * 16


def test_types_are_the_documented_ones(results: Path) -> None:
    for file in files(results):
        found = ds.dataset(file).schema
        for column in schema.file_columns():
            assert found.field(column.name).type == column.type, (file, column.name)


def test_nested_rows_are_unnested_with_sql(results: Path) -> None:
    query = f"""
        SELECT trial, seed, unnest(epochs, max_depth := 2) FROM read_parquet('{results}/*/runs/*.parquet')
        WHERE sweep = 'merged' AND trial = 3 ORDER BY ALL"""
    rows = duckdb.sql(query).to_arrow_table().to_pylist()
    assert [(row["trial"], row["seed"], row["task"], row["epoch"]) for row in rows] == [
        (3, seed, task, 0) for seed in (0, 1) for task in (0, 1)
    ]
