"""The best configurations of a sweep, as people read them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sweeper.query import open_results
from sweeper.reporting import tables as show
from sweeper.search.space import Objective, Params
from sweeper.store.schema import std_name
from sweeper.store.store import Store
from trainer.results.spread import spread

TOP = 5


def print_top(store: Store, objective: Objective) -> None:
    """A row for each of the best, a column for each dimension, the objective with its spread over seeds."""
    metric = objective.metric
    order = "DESC" if objective.direction == "maximize" else "ASC"
    found = open_results(store.folder.parent, store.sweep).sql(
        f"SELECT trial, params_json, {metric} AS mean, {std_name(metric)} AS std, n, device_s FROM seeds "
        f"WHERE status = 'finished' ORDER BY {metric} {order} LIMIT {TOP}"
    )
    rows = [(row, json.loads(row["params_json"])) for row in found.arrow().to_pylist()]
    names = list(dict.fromkeys(name for _, params in rows for name in params))
    headers = ["trial", *short_names(names).values(), f"{metric} (validation)", "n", "device s"]
    show.print_table(headers, [_row(row, [params.get(name) for name in names]) for row, params in rows])


def values(params: Params) -> str:
    """``alpha 0.5, lambda 0.1``: short enough for a line."""
    names = short_names(params)
    return ", ".join(f"{names[field]} {short(value)}" for field, value in params.items())


def short_names(fields: Iterable[str]) -> dict[str, str]:
    """The last part of each dotted field; the whole where two have the same (``optim.lr``, ``stage2.lr``)."""
    last = {field: field.rpartition(".")[2] for field in fields}
    return {field: field if list(last.values()).count(name) > 1 else name for field, name in last.items()}


def short(value: Any) -> str:
    """Numbers to four digits."""
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _row(row: dict[str, Any], cells: list[Any]) -> list[str]:
    return [
        str(row["trial"]),
        *(short(cell) for cell in cells),
        spread(row["mean"], row["std"]),
        str(row["n"]),
        f"{row['device_s']:.1f}",
    ]
