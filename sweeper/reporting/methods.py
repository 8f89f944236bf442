"""The methods that a sweep has tried, as a table."""

import json

from sweeper.search.words import METHOD, format_params
from sweeper.store.results import Tables
from sweeper.store.schema import std_name
from trainer import tables
from trainer.results.columns import metrics
from trainer.results.spread import format_mean_std


def print_methods(results: Tables, sweep: str) -> None:
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
        f"if(status = 'finished' AND feasible, {metric}, NULL) AS mean, "
        f"count(*) OVER (PARTITION BY method_name) AS tried FROM seeds WHERE sweep = $sweep "
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
