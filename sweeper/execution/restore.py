"""Stored trials, in the form that a study is restored from and a pruner is simulated on."""

from __future__ import annotations

import json
import math
from statistics import fmean
from typing import Any

from sweeper.search.simulation import CompletedTrial
from sweeper.search.space import Space
from sweeper.search.study import Outcome, StoredTrial
from sweeper.store.results import open_results
from sweeper.store.store import Store
from trainer.errors import StoreError


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


def completed_trials(results: str, space: Space) -> list[CompletedTrial]:
    """The trials of a stored sweep that ran to their end, in their order. Raises StoreError if none did."""
    rows = (
        open_results(results, space.name)
        .sql(
            f"SELECT trial, task, avg({space.spec.objective.metric}) AS value, sum(device_s + saved_s) AS device_s "
            "FROM tasks WHERE trial IN (SELECT trial FROM seeds WHERE status = 'finished') GROUP BY ALL "
            "ORDER BY trial, task"
        )
        .rows()
    )
    by_trial: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        by_trial.setdefault(row["trial"], []).append(row)
    if not by_trial:
        raise StoreError(f"{space.file}: nothing to simulate: no configuration has finished")
    return [CompletedTrial(t, [r["value"] for r in own], [r["device_s"] for r in own]) for t, own in by_trial.items()]
