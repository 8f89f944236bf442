"""What a store says of earlier launches, as a study and a status line need it."""

from __future__ import annotations

import json
import math
from statistics import fmean

from sweeper.search.study import Outcome, StoredTrial
from sweeper.store.store import Store


def stored_trials(store: Store, metric: str) -> dict[int, StoredTrial]:
    """The trials that are stored, by number, with the mean of ``metric`` over seeds after each task."""
    steps: dict[int, dict[int, list[float]]] = {}
    for row in store.read(["trial", "task", metric], detail="tasks").to_pylist():
        if row[metric] is not None and math.isfinite(row[metric]):
            steps.setdefault(row["trial"], {}).setdefault(row["task"], []).append(row[metric])
    params: dict[int, str | None] = {}
    runs: dict[int, list[tuple[str, float | None]]] = {}
    for row in store.read(["trial", "params_json", "status", metric]).to_pylist():
        params[row["trial"]] = row["params_json"]
        runs.setdefault(row["trial"], []).append((row["status"], row[metric]))
    return {
        number: StoredTrial(
            json.loads(params[number] or "{}"),
            Outcome.over(own),
            {task: fmean(found) for task, found in steps.get(number, {}).items()},
        )
        for number, own in runs.items()
    }
