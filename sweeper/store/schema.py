"""The columns of every table of a sweep: those of one run, with the sweep's in front.

``python -m sweeper.store.schema`` prints the page docs/results_schema.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from trainer.results import columns as run
from trainer.results.columns import VERSION, Column, arrow_schema

_SWEEP = (
    Column("sweep", pa.string(), "name of the sweep; null in the folder of a single run"),
    Column("trial", pa.int64(), "number of the configuration in the sweep, which is Optuna's"),
    Column("attempt", pa.string(), "which start of the trial the row is from"),
)

_CONFIGURATION = (
    Column("pack", pa.string(), "the Ray trial whose configurations were trained together"),
    Column("objective", pa.float64(), "mean over the configuration's seeds of the objective's metric; null if none"),
    Column("params_json", pa.string(), "the values that the search varied, by field, as JSON"),
    Column(
        "packing_saved_s",
        pa.float64(),
        "device time saved by training together, from steps timed when the sweep began; null if they were not",
    ),
)

SWEEP_COLUMNS = frozenset(column.name for column in (*_SWEEP, *_CONFIGURATION))
"""what a sweep's tables have and a single run's have not"""

_CHOSEN_AT = pa.timestamp("us", tz="UTC")

ASKS = (
    _SWEEP[0],
    _SWEEP[1],
    Column("config_id", pa.string(), "hash of the configuration without its seed"),
    Column("params_json", pa.string(), "the values that the sampler chose, by field, as JSON"),
    Column("asked_at", _CHOSEN_AT, "when, before the configuration was started"),
)

PROMOTIONS = (
    _SWEEP[0],
    _SWEEP[1],
    Column("config_id", pa.string(), "hash of the configuration without its seed"),
    Column("name", pa.string(), "of the run file"),
    Column("file", pa.string(), "the run file written, or that would have been"),
    Column("decision", pa.string(), "promoted or refused"),
    Column("reason", pa.string(), "of the decision"),
    Column("metric", pa.string(), "that decided"),
    Column("split", pa.string(), "that the metric was measured on"),
    Column("seeds", pa.list_(pa.int64()), "fresh seeds that the configuration was trained on again"),
    Column("n", pa.int64(), "number of those seeds"),
    Column("mean_pct", pa.float64(), "mean of the metric over the seeds"),
    Column("std_pct", pa.float64(), "standard deviation over the seeds; null with one"),
    Column("interval_low_pct", pa.float64(), "lower end of the interval of the mean difference to the incumbent"),
    Column("interval_high_pct", pa.float64(), "upper end of that interval"),
    Column("incumbent_config_id", pa.string(), "the configuration in the run file before; null if there was none"),
    Column("incumbent_mean_pct", pa.float64(), "the incumbent's mean over the same seeds"),
    Column("incumbent_std_pct", pa.float64(), "the incumbent's standard deviation over the same seeds"),
    Column("query", pa.string(), "the SQL that chose the configuration"),
    Column("git_commit", pa.string(), "of the code; -dirty where files differed"),
    Column("data_fingerprint", pa.string(), "hash of the decoded images and labels"),
    Column("decided_at", _CHOSEN_AT, "when it was decided"),
)


def tables() -> dict[str, tuple[Column, ...]]:
    """The columns of every table, by the table's name."""
    of_runs = run.run_tables()
    own = {name: (*_SWEEP, *(_CONFIGURATION if name == "trials" else ()), *of_runs[name]) for name in of_runs}
    return {**own, "asks": ASKS, "promotions": PROMOTIONS}


def schema(table: str) -> pa.Schema:
    """The Arrow schema of a table."""
    return arrow_schema(tables()[table])


def to_arrow(table: str, rows: Sequence[Mapping[str, Any]], same: Mapping[str, Any] | None = None) -> pa.Table:
    """Rows as an Arrow table of the columns that they have; ``same`` is what all rows have in common besides.

    Raises TypeError for a key that is no column or a value of another type: the writer's bug.
    """
    same = same or {}
    columns = {column.name: column for column in tables()[table]}
    given = set(same).union(*rows)
    unknown = given - columns.keys()
    if unknown:
        raise TypeError(f"table {table} has no column {', '.join(sorted(unknown))}")
    arrays = {}
    for name, column in columns.items():
        if name in same:
            arrays[name] = pa.repeat(_array(table, column, [same[name]])[0], len(rows))
        elif name in given:
            arrays[name] = _array(table, column, [row.get(name) for row in rows])
    return pa.table(arrays)


def _array(table: str, column: Column, values: list[Any]) -> pa.Array:
    try:
        return pa.array(values, column.type)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"table {table}, column {column.name}: {error}") from error


def params_json(params: Mapping[str, Any]) -> str:
    """The values of a configuration's varied fields, as the column ``params_json`` holds them."""
    return json.dumps(dict(params), sort_keys=True)


# -- views -----------------------------------------------------------------------------------------

SWEEPS = (
    Column("sweep", pa.string(), "name of the sweep"),
    Column("metric", pa.string(), "of the objective: a column of trials"),
    Column("split", pa.string(), "of the objective: what the metric is measured on"),
    Column("direction", pa.string(), "of the objective: maximize or minimize"),
)

BEST = (
    _SWEEP[0],
    _SWEEP[1],
    Column("config_id", pa.string(), "hash of the configuration without its seed"),
    *SWEEPS[1:],
    Column("mean", pa.float64(), "mean of the metric over the seeds"),
    Column("std", pa.float64(), "standard deviation over the seeds; null with one"),
    Column("n", pa.int64(), "number of seeds"),
    Column("params_json", pa.string(), "the values that the search varied, by field, as JSON"),
)


LEDGER = (
    SWEEPS[0],
    Column("spent_s", pa.float64(), "device seconds of all runs"),
    Column("sharing_s", pa.float64(), "saved: first tasks taken over from another run"),
    Column(
        "pruning_s",
        pa.float64(),
        "saved: tasks that pruned runs did not train, each at the mean of finished runs; 0 while none has finished",
    ),
    Column(
        "packing_s",
        pa.float64(),
        "saved: what the runs would have taken more alone, by the time of a step alone and together; 0 if not measured",
    ),
    Column("store_s", pa.float64(), "saved: whole runs answered from what a sweep has stored"),
)


def seeds() -> tuple[Column, ...]:
    """The columns of the view ``seeds``."""
    metrics = [
        column
        for name in accuracies()
        for column in (
            Column(name, pa.float64(), "mean over the seeds"),
            Column(std_name(name), pa.float64(), "standard deviation over the seeds; null with one"),
        )
    ]
    return (
        *_SWEEP,
        Column("config_id", pa.string(), "hash of the configuration without its seed"),
        *_CONFIGURATION[1:],
        Column("n", pa.int64(), "number of seeds"),
        Column("status", pa.string(), "finished if all seeds are, else another seed's"),
        *metrics,
        Column("device_s", pa.float64(), "sum over the seeds"),
        Column("saved_s", pa.float64(), "sum over the seeds"),
        *run.config_columns(),
    )


def accuracies() -> list[str]:
    """The columns of ``trials`` that are percent."""
    return [column.name for column in run.SUMMARY if column.name.endswith("_pct")]


def std_name(accuracy: str) -> str:
    """The column of ``seeds`` with an accuracy's standard deviation."""
    return accuracy.removesuffix("_pct") + "_std_pct"


def views() -> dict[str, tuple[Column, ...]]:
    """The columns of what ``sweeper.query`` derives from the tables, by the view's name."""
    return {"seeds": seeds(), "best": BEST, "ledger": LEDGER, "sweeps": SWEEPS}


# -- the page --------------------------------------------------------------------------------------

_ABOUT = {
    "trials": "One row a run: a configuration and a seed. The row is written last, when all else of the run is stored.",
    "tasks": "One row a run and task.",
    "epochs": "One row a run and epoch.",
    "classes": "One row a run, task and class seen.",
    "asks": "One row a configuration that the sampler chose, written before it is started.",
    "promotions": "One row a decision about a run file.",
    "seeds": "One row a configuration: its seeds together.",
    "best": "One row a sweep: of the configurations whose seeds all finished, the best by the sweep's objective.",
    "ledger": "One row a sweep: what it has cost and what it was spared, in device seconds.",
    "sweeps": "One row a sweep: its objective.",
}


def page() -> str:
    """The text of docs/results_schema.md."""
    head = f"""# Tables of results

Written by `python -m sweeper.store.schema`; do not edit. Schema version {VERSION}.

A sweep's results are Parquet files, `<results>/<sweep>/<table>/part-*.parquet`, written once and never
edited. Each holds its schema version and a checksum in its metadata. A file of a newer version is
refused; one that is truncated or damaged is named on stderr and passed over. Any Parquet reader opens them; a column
that has no value in a file is left out of it, so they are joined by name (in DuckDB
`read_parquet('results/SWEEP/trials/*.parquet', union_by_name = true)`).
`python -m sweeper.compact SWEEP` merges the files of each table into one.

`python -m trainer.run --out DIR` writes `trials`, `tasks`, `epochs` and `classes` in the same form, without
the sweep's columns. Units are in the names: `_pct` percent, `_s` seconds.
"""
    derived = "# Views\n\nDerived from the tables when `python -m sweeper.query` is asked; not stored.\n"
    return "\n".join([head, *_sections(tables()), derived, *_sections(views())])


def _sections(of: Mapping[str, tuple[Column, ...]]) -> list[str]:
    return [f"## {name}\n\n{_ABOUT[name]}\n\n{_as_markdown(columns)}" for name, columns in of.items()]


def _as_markdown(columns: Iterable[Column]) -> str:
    lines = ["| column | type | meaning |", "|---|---|---|"]
    lines += [f"| `{c.name}` | {c.type} | {c.doc.replace('|', '/')} |" for c in columns]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
