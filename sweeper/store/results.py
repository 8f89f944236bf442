"""The results of sweeps as SQL: tables of runs, tasks, epochs and classes, and views of them.

In notebooks: ``from sweeper.store.results import open_results; open_results("results").sql("FROM best").pandas()``.
"""

import contextlib
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import duckdb
import pyarrow as pa
import yaml

from sweeper.store import schema
from sweeper.store.damage import Damage
from sweeper.store.folder import Folder
from sweeper.store.missing import report_missing
from sweeper.store.sealed import unseal
from sweeper.store.segments import Rows, Segments
from sweeper.store.sql_words import explained, with_columns
from sweeper.store.status_file import Status
from sweeper.store.steering import read_steering, state_of
from sweeper.store.sweeps import is_promotion, is_sweep, no_sweep, outdated, sweeps
from trainer.errors import StoreError, UserError
from trainer.results.columns import DETAILS, Column, columns_of
from trainer.results.parquet import DamagedFile, ResultsFile, arrow_schema, to_arrow

_READS = frozenset({duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN, duckdb.StatementType.MULTI})
"""MULTI is what PIVOT is"""
_DECISION = re.compile(r"\d{6,}\.parquet")


class QueryError(UserError):
    """A query that is not valid SQL, names what does not exist, or would write."""


class Answer:
    """The rows that a query returned."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def arrow(self) -> pa.Table:
        """As a pyarrow table."""
        return self._table

    def pandas(self) -> Any:
        """As a pandas DataFrame. Raises ImportError without pandas."""
        return self._table.to_pandas()

    def polars(self) -> Any:
        """As a Polars DataFrame. Raises ImportError without Polars."""
        import polars  # noqa: PLC0415  (an optional dependency)

        return polars.from_arrow(self._table)

    def rows(self) -> list[dict[str, Any]]:
        """As a list of dictionaries."""
        return self._table.to_pylist()


class Tables(Protocol):
    """What answers queries: results as they are at each, or a snapshot of them."""

    def sql(self, query: str, **parameters: Any) -> Answer:
        """The answer to one SELECT. Raises QueryError."""


class Snapshot:
    """Results as tables and views of SQL, from the files of one moment."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, fields: Sequence[str], sweeps: Collection[str]) -> None:
        """``fields``: columns that are fields of run files; ``sweeps``: names, for hints."""
        self._connection, self._fields, self._sweeps = connection, fields, sweeps

    def sql(self, query: str, **parameters: Any) -> Answer:
        """As ``Results.sql``."""
        try:
            query = with_columns(query, self._fields)
            statements = duckdb.extract_statements(query)
            if len(statements) != 1:
                raise QueryError(f"expected one SQL statement, found {len(statements)}")
            if statements[0].type not in _READS:
                raise QueryError(f"results are read-only: {statements[0].type.name} is refused, SELECT is allowed")
            return Answer(self._connection.sql(query, params=parameters or None).to_arrow_table())
        except duckdb.Error as error:
            raise QueryError(explained(str(error), query, self._fields, self._sweeps)) from error


class Results:
    """The results below a folder, as tables and views of SQL."""

    def __init__(self, folders: Mapping[str, Folder], damage: Damage) -> None:
        """``folders`` of the sweeps, by name."""
        self._folders, self._damage = folders, damage

    def sql(self, query: str, **parameters: Any) -> Answer:
        """The answer to one SELECT, from the files as they are now; ``parameters``: values of ``$name`` in it.

        A field of a run file may be written as there (``method.lambda``) or as its column (``method_lambda``).
        Raises QueryError.
        """
        with self.snapshot() as now:
            return now.sql(query, **parameters)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """The files as they are now, for several queries: they agree with each other, and are opened once."""
        segments = [Segments(folder, self._damage) for folder in self._folders.values()]
        configuration = _configuration(segments)
        with self._connect(segments, configuration) as connection:
            yield Snapshot(connection, [column.name for column in configuration], self._folders)

    def _connect(self, segments: Sequence[Segments], configuration: Sequence[Column]) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(":memory:", config={"temp_directory": "", "python_enable_replacements": False})
        for own in segments:
            report_missing(own, self._damage)
        objectives = [schema.SweepRow(sweep=name, **self._objective(f)) for name, f in self._folders.items()]
        connection.register("promotions", self._promotions())
        connection.register("steering", to_arrow(list(self._steering()), columns_of(schema.SteeringRow)))
        for name in ("runs", *DETAILS):
            columns = arrow_schema(schema.tables(configuration)[name])
            connection.register(name, Rows(segments, columns, name if name in DETAILS else None))
        connection.register("sweeps", to_arrow(objectives, columns_of(schema.SweepRow)))
        seeds = ", ".join(f'{sql} AS "{column.name}"' for column, sql in schema.seeds(configuration).items())
        connection.execute(f"CREATE VIEW seeds AS SELECT {seeds} FROM runs GROUP BY ALL ORDER BY sweep, trial")
        connection.execute(f"CREATE VIEW best AS {_best_sql(objectives)}")
        connection.execute(f"CREATE VIEW front AS {_front_sql(objectives)}")
        connection.execute(f"CREATE VIEW ledger AS {_LEDGER_SQL}")
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET enable_external_access = false; SET lock_configuration = true")
        return connection

    def _promotions(self) -> pa.Table:
        columns = arrow_schema(columns_of(schema.PromotionRow))
        found = [columns.empty_table()]
        for sweep, where in self._folders.items():
            folder = where.child("promotions")
            for name in sorted(folder.names(), key=lambda name: (not _DECISION.fullmatch(name), name)):
                try:
                    file = ResultsFile(folder.read_buffer(name))
                    if "decision" not in file.schema.names:
                        raise DamagedFile("not a decision about a run file")
                    table = file.read(columns)
                    table = table.set_column(0, columns.field("sweep"), pa.repeat(sweep, len(table)))
                    if any(table.equals(other) for other in found):
                        raise DamagedFile("it repeats another file")
                    found.append(table)
                except DamagedFile as error:
                    self._damage.skipped(f"{folder}/{name}", error)
        return pa.concat_tables(found)

    def _steering(self) -> Iterator[schema.SteeringRow]:
        for sweep, folder in self._folders.items():
            for number, request, taken in read_steering(folder, self._damage):
                added = None if taken is None else taken.trial
                yield schema.SteeringRow(
                    sweep=sweep,
                    number=number,
                    requested_at=datetime.fromtimestamp(request.at, UTC),
                    requested_by=request.by,
                    action=request.action,
                    params_json=json.dumps(request.params, sort_keys=True) if request.params else None,
                    trial=request.number if request.action == "stop" else added,
                    trials=request.number if request.action == "trials" else None,
                    text=request.text or None,
                    state=state_of(taken),
                    taken_at=None if taken is None else datetime.fromtimestamp(taken.at, UTC),
                    reason=None if taken is None else taken.refused,
                )

    def _objective(self, folder: Folder) -> dict[str, Any]:
        try:
            content = yaml.load(folder.read_bytes("space.yaml"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
            space = unseal(content)
            stated = space["objectives"] if "objectives" in space else [space["objective"]]
            every = {f"{key}s": [str(one[key]) for one in stated] for key in ("metric", "direction")}
            return every | {key: str(stated[0][key]) for key in ("metric", "split", "direction")}
        except FileNotFoundError:  # the folder of a single run, or of a promotion
            if Status.read(folder, self._damage) and not is_promotion(folder.name):
                self._damage.skipped(f"{folder}/space.yaml", "it is missing; launch the sweep's file to write it again")
            return {}
        except (StoreError, yaml.YAMLError, RecursionError, ValueError, KeyError, TypeError):
            self._damage.skipped(f"{folder}/space.yaml", "it is damaged; restore it from a backup")
            return {}


def last_promotion(results: Tables, sweep: str) -> dict[str, Any] | None:
    """The row of the last decision about a configuration of a sweep on its own images; None if there was none."""
    newest = "FROM promotions WHERE sweep = $sweep AND tested_on IS NULL ORDER BY decided_at DESC LIMIT 1"
    return next(iter(results.sql(newest, sweep=sweep).rows()), None)


def open_results(
    results: str | Path | Folder, sweep: str | None = None, report: Callable[[str], None] | None = None
) -> Results:
    """The results below a folder or URI: of all its sweeps or one, or of a single run's ``--out``.

    ``report`` takes the line that names a damaged file (default: a warning on stderr). Raises StoreError if there are
    no results, or only ones of an older schema.
    """
    root, damage = Folder.at(results), Damage(report)
    names = sweeps(root)
    if is_sweep(root) and sweep is None:
        folders = {Path(root.path).name: root}
    elif not names:
        raise StoreError(f"{root}: no results: no folder in it is a sweep's")
    elif sweep is not None and sweep not in names:
        raise no_sweep(root, sweep)
    else:
        folders = {name: root.child(name) for name in names if sweep in (None, name)}
    for name, folder in list(folders.items()):
        old = outdated(folder)
        if old and len(folders) == 1:
            raise StoreError(f"{folder}: {old}")
        if old:
            damage.skipped(str(folder), old)
            del folders[name]
    return Results(folders, damage)


def _configuration(sweeps: Sequence[Segments]) -> Sequence[Column]:
    """The columns of configurations: those that the files have, of methods that this code lacks too.

    Where there are no files yet, those of all methods that this code has, whose import takes seconds.
    """
    others = {column.name for column in schema.file_columns(configuration=())}
    found: dict[str, pa.DataType] = {}
    for segments in sweeps:
        for file in segments.live().values():
            for field in file.schema:
                if field.name not in others:
                    found[field.name] = _common(found.get(field.name, field.type), field.type)
    return [Column(name, kind, "") for name, kind in found.items()] or schema.configuration_columns()


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The type for what two versions of a method declare differently."""
    if one == other:
        return one
    numbers = all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in (one, other))
    return pa.float64() if numbers else pa.string()


def _best_sql(objectives: list[schema.SweepRow]) -> str:
    value = _value_sql("metric", {str(row.metric) for row in objectives})
    return f"""
        WITH scored AS (
            SELECT runs.*, metric, direction, {value} AS value
            FROM runs JOIN sweeps USING (sweep) WHERE runs.split = sweeps.split
        )
        SELECT sweep, trial, config_id,
            any_value(metric) AS metric, any_value(split) AS split, any_value(direction) AS direction,
            avg(value) AS mean, stddev_samp(value) AS std, count(*) AS n, any_value(params_json) AS params_json
        FROM scored GROUP BY sweep, trial, config_id
        HAVING bool_and(status = 'finished' AND value IS NOT NULL AND isfinite(value))
            AND {schema.feasible_sql("any_value(violations)")}
        QUALIFY row_number() OVER (
            PARTITION BY sweep ORDER BY CASE any_value(direction) WHEN 'minimize' THEN mean ELSE -mean END, trial
        ) = 1
        ORDER BY sweep"""


def _front_sql(objectives: list[schema.SweepRow]) -> str:
    every = [row.metrics or [] for row in objectives]
    places = range(1, 1 + max(map(len, every), default=0)) or range(1, 2)
    known = {metric for metrics in every for metric in metrics}
    values = ", ".join(f"{_value_sql(f'metrics[{i}]', known)} AS v{i}" for i in places)
    means = ", ".join(f"avg(v{i})" for i in places)
    stds = ", ".join(f"stddev_samp(v{i}) FILTER (WHERE isfinite(v{i}))" for i in places)
    losses = ", ".join(
        f"coalesce(avg(v{i}) * if(any_value(directions)[{i}] = 'minimize', 1, -1), 0) AS loss{i}" for i in places
    )
    whole = " AND ".join(f"(len(metrics) < {i} OR coalesce(isfinite(v{i}), false))" for i in places)
    ranks = " + ".join(f"percent_rank() OVER (PARTITION BY sweep ORDER BY loss{i})" for i in places)
    no_worse = " AND ".join(f"other.loss{i} <= one.loss{i}" for i in places)
    better = " OR ".join(f"other.loss{i} < one.loss{i}" for i in places)
    dominates = f"other.sweep = one.sweep AND {no_worse} AND ({better})"
    # To compare every pair of 10,000 configurations takes half a minute on 2 CPU cores. A few good ones dominate nearly
    # all others, and what is dominated at all is dominated by something that these leave: about 1 s.
    return f"""
        WITH scored AS (
            SELECT runs.*, metrics, directions, {values}
            FROM runs JOIN sweeps USING (sweep) WHERE runs.split = sweeps.split
        ),
        tried AS (
            SELECT sweep, trial, config_id, any_value(metrics) AS metrics, any_value(directions) AS directions,
                [{means}][:len(any_value(metrics))] AS means, [{stds}][:len(any_value(metrics))] AS stds,
                count(*) AS n, sum(device_s + coalesce(saved_s, 0)) AS device_s,
                any_value(params_json) AS params_json, {losses}
            FROM scored GROUP BY sweep, trial, config_id
            HAVING bool_and(status = 'finished' AND {whole}) AND {schema.feasible_sql("any_value(violations)")}
        ),
        ranked AS (SELECT *, {ranks} AS ranks FROM tried),
        good AS (FROM ranked QUALIFY row_number() OVER (PARTITION BY sweep ORDER BY ranks) <= 50),
        rest AS (FROM tried AS one WHERE NOT EXISTS (FROM good AS other WHERE {dominates}))
        SELECT * EXCLUDE ({", ".join(f"loss{i}" for i in places)}) FROM rest AS one
        WHERE NOT EXISTS (FROM rest AS other WHERE {dominates})
        ORDER BY sweep, loss1, trial"""


def _value_sql(name: str, wanted: set[str]) -> str:
    """The number in that of the ``wanted`` columns of runs which ``name`` says."""
    columns = schema.tables(configuration=())["runs"]  # a metric is none of a configuration's
    numbers = {c.name for c in columns if pa.types.is_floating(c.type) or pa.types.is_integer(c.type)}
    metrics = sorted(numbers & wanted)
    cases = "".join(f" WHEN '{metric}' THEN ({schema.value_sql(metric)})::DOUBLE" for metric in metrics)
    return f"CASE {name}{cases} END" if metrics else "NULL::DOUBLE"


_LEDGER_SQL = """
    WITH cost AS (
        SELECT sweep, task, avg(device_s + saved_s) AS mean_s FROM tasks
        WHERE (sweep, run_id) IN (SELECT (sweep, run_id) FROM runs WHERE status = 'finished') GROUP BY sweep, task
    ),
    missing AS (
        SELECT runs.sweep, sum(mean_s) AS pruned_s FROM runs JOIN cost USING (sweep)
        WHERE status = 'pruned' AND task >= tasks_done GROUP BY runs.sweep
    )
    SELECT
        sweeps.sweep,
        coalesce(sum(device_s), 0) AS spent_s,
        coalesce(sum(saved_s) FILTER (WHERE attempt <> 'from-store'), 0) AS sharing_s,
        coalesce(any_value(pruned_s), 0) AS pruning_s,
        coalesce(sum(packing_saved_s), 0) AS packing_s,
        coalesce(sum(saved_s) FILTER (WHERE attempt = 'from-store'), 0) AS store_s
    FROM sweeps LEFT JOIN runs USING (sweep) LEFT JOIN missing USING (sweep) GROUP BY sweeps.sweep
    ORDER BY sweeps.sweep"""
