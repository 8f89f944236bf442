"""The Pareto front of a sweep with several objectives, as a table."""

import json

from sweeper.search.words import format_params
from sweeper.store.results import Tables
from trainer import tables
from trainer.results.spread import format_mean_std


def print_front(results: Tables, sweep: str) -> None:
    """Print a row per configuration of the front, the best in the first objective first, of a sweep with several.

    Each objective with its standard deviation over seeds or worlds. Prints nothing for a sweep with one objective.
    """
    rows = results.sql("FROM front WHERE sweep = $sweep AND len(metrics) > 1", sweep=sweep).rows()
    if not rows:
        return
    goals = zip(rows[0]["metrics"], rows[0]["directions"], strict=True)
    headers = [
        "front: trial",
        *(f"{metric} ({direction})" for metric, direction in goals),
        "n",
        "device s",
        "its values",
    ]
    cells = [
        [
            str(row["trial"]),
            *(format_mean_std(mean, std) for mean, std in zip(row["means"], row["stds"], strict=True)),
            str(row["n"]),
            f"{row['device_s']:.1f}",
            format_params(json.loads(row["params_json"] or "{}")),
        ]
        for row in rows
    ]
    tables.print_table(headers, cells)
