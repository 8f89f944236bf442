"""SQL over results, read-only: ``python -m sweeper.query "SELECT ..." [--results DIR] [--sweep NAME]``.

In notebooks: ``from sweeper.query import open_results; open_results("results").sql("FROM best").pandas()``.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import yaml

from sweeper.reporting import tables as show
from sweeper.store import schema
from sweeper.store.folder import Folder
from sweeper.store.reader import DETAILS, Damage, committed, rows_of_all
from sweeper.store.store import is_sweep, sweeps
from trainer.errors import StoreError, UserError, exit_code, nearest
from trainer.results.columns import arrow_schema

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped]
    import polars

_READS = frozenset({duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN, duckdb.StatementType.MULTI})
"""MULTI is what PIVOT is"""


class QueryError(UserError):
    """A query that is no SQL, asks for what is not there, or would write."""


class Answer:
    """What a query found."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def arrow(self) -> pa.Table:
        return self._table

    def pandas(self) -> pandas.DataFrame:
        return self._table.to_pandas()

    def polars(self) -> polars.DataFrame:
        import polars  # noqa: PLC0415  (an optional dependency)

        frame = polars.from_arrow(self._table)
        assert isinstance(frame, polars.DataFrame)
        return frame


class Results:
    """The results below a folder, as tables and views of SQL."""

    def __init__(self, folders: Mapping[str, Folder], report: Callable[[str], None] | None = None) -> None:
        """``folders``: of the sweeps, by name. ``report`` takes the line that names a damaged part (else stderr)."""
        self._folders = folders
        self._damage = Damage(report)

    def sql(self, query: str) -> Answer:
        """The answer to one SELECT, from the files as they are now. Raises QueryError."""
        try:
            statements = duckdb.extract_statements(query)
            if len(statements) != 1:
                raise QueryError(f"one SQL statement is asked for, not {len(statements)}")
            if statements[0].type not in _READS:
                raise QueryError(f"results are read-only: {statements[0].type.name} is refused, SELECT is allowed")
            with self._connect(query) as connection:
                return Answer(connection.sql(query).to_arrow_table())
        except duckdb.Error as error:
            raise QueryError(str(error).partition("\n\nLINE ")[0]) from error

    def _connect(self, query: str) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(":memory:", config={"temp_directory": "", "python_enable_replacements": False})
        for name, table in self._tables(query).items():
            connection.register(name, table)
        connection.execute(f"CREATE VIEW seeds AS {_seeds_sql()}")
        connection.execute(f"CREATE VIEW best AS {_best_sql(self._objectives())}")
        connection.execute(f"CREATE VIEW ledger AS {_LEDGER_SQL}")
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET enable_external_access = false; SET lock_configuration = true")
        return connection

    def _tables(self, query: str) -> dict[str, ds.Dataset | pa.Table]:
        """The tables; those that the query does not name, nor needs, are empty, as reading them takes time."""
        words = set(re.findall(r"\w+", query.lower()))
        needed = words & set(schema.tables())
        if words & {"best", "seeds", "ledger", *DETAILS}:
            needed.add("trials")
        if "ledger" in words:
            needed.add("tasks")
        # Trials first: details are written before the row in trials that makes them count.
        order = sorted(schema.tables(), key=lambda name: name != "trials")
        found = {
            name: rows_of_all(self._folders.values() if name in needed else (), name, self._damage) for name in order
        }
        if needed & set(DETAILS):
            counted = committed(found["trials"])
            found |= {name: found[name].filter(counted) for name in DETAILS}
        return {**found, "sweeps": pa.Table.from_pylist(self._objectives(), arrow_schema(schema.SWEEPS))}

    def _objectives(self) -> list[dict[str, Any]]:
        return [{"sweep": name, **self._objective(folder)} for name, folder in self._folders.items()]

    def _objective(self, folder: Folder) -> dict[str, Any]:
        try:
            space = yaml.load(folder.read_bytes("space.yaml"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
            return {key: str(space["objective"][key]) for key in ("metric", "split", "direction")}
        except FileNotFoundError:  # the folder of a single run
            return {}
        except (yaml.YAMLError, KeyError, TypeError):
            self._damage.passed_over(f"{folder}/space.yaml", "it states no objective")
            return {}


def open_results(results: str | Path | Folder, sweep: str | None = None) -> Results:
    """The results below a folder or URI: of all its sweeps or one, or of a single run's ``--out``.

    Raises StoreError if there are none.
    """
    root = Folder.at(results)
    found = sweeps(results)
    if is_sweep(root) and sweep is None:
        return Results({Path(root.path).name: root})
    if not found:
        raise StoreError(f"{root}: no results here: no folder in it has trials")
    if sweep is None:
        return Results({name: root.child(name) for name in found})
    if sweep not in found:
        near = nearest(sweep, found)
        raise StoreError(f"{root}: no sweep {sweep!r}" + (f"; did you mean {near!r}?" if near else ""))
    return Results({sweep: root.child(sweep)})


def _seeds_sql() -> str:
    picked = []
    own = {"n": "count(*)", "device_s": "sum(device_s)", "saved_s": "sum(saved_s)"}
    own["packing_saved_s"] = "sum(packing_saved_s)"
    own["status"] = (
        "CASE WHEN bool_and(status = 'finished') THEN 'finished' "
        "ELSE min(status) FILTER (WHERE status <> 'finished') END"
    )
    for accuracy in schema.accuracies():
        # A diverged run may hold a number that is none, which DuckDB's deviation refuses.
        own[accuracy] = f"avg({accuracy}) FILTER (WHERE isfinite({accuracy}))"
        own[schema.std_name(accuracy)] = f"stddev_samp({accuracy}) FILTER (WHERE isfinite({accuracy}))"
    keys = ("sweep", "trial", "attempt", "config_id")
    for column in schema.seeds():
        name = f'"{column.name}"'
        picked.append(name if column.name in keys else f"{own.get(column.name, f'any_value({name})')} AS {name}")
    return f"SELECT {', '.join(picked)} FROM trials GROUP BY {', '.join(keys)}"


def _best_sql(objectives: list[dict[str, Any]]) -> str:
    numbers = {c.name for c in schema.tables()["trials"] if pa.types.is_floating(c.type) or pa.types.is_integer(c.type)}
    metrics = sorted(numbers & {str(row.get("metric")) for row in objectives})
    cases = "".join(f" WHEN '{metric}' THEN {metric}::DOUBLE" for metric in metrics)
    value = f"CASE metric{cases} END" if metrics else "NULL::DOUBLE"
    return f"""
        WITH scored AS (
            SELECT trials.*, metric, direction, {value} AS value
            FROM trials JOIN sweeps USING (sweep) WHERE trials.split = sweeps.split
        )
        SELECT sweep, trial, config_id,
            any_value(metric) AS metric, any_value(split) AS split, any_value(direction) AS direction,
            avg(value) AS mean, stddev_samp(value) AS std, count(*) AS n, any_value(params_json) AS params_json
        FROM scored GROUP BY sweep, trial, config_id
        HAVING bool_and(status = 'finished' AND value IS NOT NULL AND isfinite(value))
        QUALIFY row_number() OVER (
            PARTITION BY sweep ORDER BY CASE any_value(direction) WHEN 'minimize' THEN mean ELSE -mean END, trial
        ) = 1"""


_LEDGER_SQL = """
    WITH cost AS (
        SELECT sweep, task, avg(device_s + saved_s) AS mean_s FROM tasks
        WHERE (sweep, run_id) IN (SELECT (sweep, run_id) FROM trials WHERE status = 'finished') GROUP BY sweep, task
    ),
    missing AS (
        SELECT trials.sweep, sum(mean_s) AS pruned_s FROM trials JOIN cost USING (sweep)
        WHERE status = 'pruned' AND task >= tasks_done GROUP BY trials.sweep
    )
    SELECT
        sweeps.sweep,
        coalesce(sum(device_s), 0) AS spent_s,
        coalesce(sum(saved_s) FILTER (WHERE attempt <> 'from-store'), 0) AS sharing_s,
        coalesce(any_value(pruned_s), 0) AS pruning_s,
        coalesce(sum(packing_saved_s), 0) AS packing_s,
        coalesce(sum(saved_s) FILTER (WHERE attempt = 'from-store'), 0) AS store_s
    FROM sweeps LEFT JOIN trials USING (sweep) LEFT JOIN missing USING (sweep) GROUP BY sweeps.sweep"""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m sweeper.query", description="SQL over results, read-only.")
    parser.add_argument("query", nargs="?", help="one SELECT; without it, the tables and their columns are listed")
    parser.add_argument("--results", default=os.environ.get("CIL_RESULTS", "results"), help="default: results")
    parser.add_argument("--sweep", help="of this sweep alone")
    parser.add_argument("--format", choices=("table", "csv", "json", "parquet"), default="table")
    parser.add_argument("--out", type=Path, help="a file instead of the terminal")
    arguments = parser.parse_args(argv)
    if arguments.query is None:
        for name, columns in {**schema.tables(), **schema.views()}.items():
            print(f"{name}: {', '.join(column.name for column in columns)}")
        return 0
    table = open_results(arguments.results, arguments.sweep).sql(arguments.query).arrow()
    if arguments.out is not None:
        Folder.at(arguments.out.parent).write(arguments.out.name, show.as_bytes(table, arguments.format))
    elif arguments.format == "table":
        show.print_table(table.column_names, show.cells(table))
    elif arguments.format == "parquet" and sys.stdout.isatty():
        raise QueryError("Parquet is not for a terminal: give --out FILE")
    else:
        sys.stdout.buffer.write(show.as_bytes(table, arguments.format))
        sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
