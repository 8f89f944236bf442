"""What a sweep has come to: its best configurations as a table."""

import json

from sweeper.search.space import Objective
from sweeper.search.words import METHOD, format_value, short_names
from sweeper.store.results import Tables
from sweeper.store.schema import std_name
from trainer import tables
from trainer.results.spread import format_mean_std

TOP = 5


def print_top(results: Tables, objective: Objective) -> None:
    """Print one row per configuration: its dimensions, and the objective with its standard deviation over seeds."""
    tables.print_table(*top(results, objective))


def top(results: Tables, objective: Objective) -> tuple[list[str], list[list[str]]]:
    """Headers and rows of the best configurations, the best first."""
    metric = objective.metric
    order = "DESC" if objective.direction == "maximize" else "ASC"
    found = results.sql(
        f"SELECT trial, params_json, {metric} AS mean, {std_name(metric)} AS std, n, device_s FROM seeds "
        f"WHERE status = 'finished' AND feasible ORDER BY {metric} {order} LIMIT {TOP}"
    )
    rows = [(row, json.loads(row["params_json"])) for row in found.rows()]
    names = sorted(dict.fromkeys(name for _, params in rows for name in params), key=lambda name: name != METHOD)
    headers = ["trial", *short_names(names).values(), f"{metric} ({objective.measured_on})", "n", "device s"]
    cells = [
        [
            str(row["trial"]),
            *(format_value(params.get(name)) for name in names),
            format_mean_std(row["mean"], row["std"]),
            str(row["n"]),
            f"{row['device_s']:.1f}",
        ]
        for row, params in rows
    ]
    return headers, cells
