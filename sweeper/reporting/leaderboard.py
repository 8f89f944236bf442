"""What a sweep has come to: its best configurations as a table, and what it cost and saved."""

import json
from typing import Self

from sweeper.reporting import tables
from sweeper.search.space import METHOD, Objective, format_params, format_value, short_names
from sweeper.store.results import Results
from sweeper.store.schema import LedgerRow, std_name
from trainer.results.columns import metrics
from trainer.results.spread import format_mean_std

TOP = 5


def print_top(results: Results, objective: Objective) -> None:
    """Print one row per configuration: its dimensions, and the objective with its standard deviation over seeds."""
    metric = objective.metric
    order = "DESC" if objective.direction == "maximize" else "ASC"
    found = results.sql(
        f"SELECT trial, params_json, {metric} AS mean, {std_name(metric)} AS std, n, device_s FROM seeds "
        f"WHERE status = 'finished' ORDER BY {metric} {order} LIMIT {TOP}"
    )
    rows = [(row, json.loads(row["params_json"])) for row in found.rows()]
    names = list(dict.fromkeys(name for _, params in rows for name in params))
    headers = ["trial", *short_names(names).values(), f"{metric} (validation)", "n", "device s"]
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
    tables.print_table(headers, cells)


def print_methods(results: Results, sweep: str) -> None:
    """Print a row per method, the best first, of a sweep that has tried several; otherwise nothing.

    Each with how many of its configurations were trained, and the best of those that finished.
    """
    ((metric, direction),) = [
        (row["metric"], row["direction"])
        for row in results.sql("SELECT metric, direction FROM sweeps WHERE sweep = $sweep", sweep=sweep).rows()
    ]
    if metric not in metrics():
        return
    order = f"mean {'ASC' if direction == 'minimize' else 'DESC'} NULLS LAST, trial"
    rows = results.sql(
        f"SELECT method_name, trial, params_json, n, {std_name(metric)} AS std, "
        f"if(status = 'finished', {metric}, NULL) AS mean, count(*) OVER (PARTITION BY method_name) AS tried "
        f"FROM seeds WHERE sweep = $sweep "
        f"QUALIFY row_number() OVER (PARTITION BY method_name ORDER BY {order}) = 1 ORDER BY {order}",
        sweep=sweep,
    ).rows()
    cells = []
    for row in rows:
        own = {name: value for name, value in json.loads(row["params_json"] or "{}").items() if name != METHOD}
        done = row["mean"] is not None
        best = [str(row["trial"]), format_mean_std(row["mean"], row["std"]), str(row["n"]), format_params(own)]
        cells.append([row["method_name"] or "", str(row["tried"]), *(best if done else [tables.NULL] * len(best))])
    if len(cells) > 1:
        headers = ["method", "configurations", "best trial", f"{metric} (validation)", "n", "its values"]
        tables.print_table(headers, cells)


class Ledger(LedgerRow):
    """The row of one sweep in the view ``ledger``; docs/results_schema.md explains its columns."""

    @classmethod
    def of(cls, results: Results, sweep: str) -> Self:
        """The row of a sweep."""
        (row,) = results.sql("SELECT * FROM ledger WHERE sweep = $sweep", sweep=sweep).rows()
        return cls(**row)

    def __str__(self) -> str:
        saved = {
            "shared first tasks": self.sharing_s,
            "pruning": self.pruning_s,
            "packs": self.packing_s,
            "the store": self.store_s,
        }
        named = ", ".join(f"{seconds:.0f} by {what}" for what, seconds in saved.items() if seconds)
        return f"{self.spent_s:.0f} device seconds spent; saved: {named or 'none'}"
