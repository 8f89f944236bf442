"""Stored trials, in the form that a study is restored from and a pruner is simulated on."""

import json
from typing import Any

from sweeper.search.outcome import Goals
from sweeper.search.simulation import CompletedTrial
from sweeper.search.space import Space
from sweeper.search.study import StoredTrial, objective_by_task
from sweeper.store.results import open_results
from sweeper.store.store import Store
from trainer.errors import StoreError


def stored_trials(store: Store, goals: Goals, first_task: int = 0) -> dict[int, StoredTrial]:
    """The trials that are stored, by number, each with the mean of the objective over their runs after each task.

    ``first_task``: the first one after which a study is told the metric: 1 if all trials share task 0.
    """
    metric = goals.metric
    values: dict[tuple[int, str], list[float | None]] = {}
    for row in store.read(["trial", "run_id", "task", metric], detail="tasks").sort_by("task").to_pylist():
        values.setdefault((row["trial"], row["run_id"]), []).append(row[metric])
    runs: dict[int, list[dict[str, Any]]] = {}
    columns = ("trial", "run_id", "params_json", "device_s", "saved_s")
    for row in store.read(list(dict.fromkeys([*columns, *goals.columns]))).to_pylist():
        runs.setdefault(row["trial"], []).append(row)
    return {
        number: StoredTrial(
            json.loads(own[0]["params_json"] or "{}"),
            goals.outcome(own),
            objective_by_task([(run["status"], values.get((number, run["run_id"]), [])) for run in own], first_task),
            own,
        )
        for number, own in runs.items()
    }


def completed_trials(results: str, space: Space) -> list[CompletedTrial]:
    """The trials of a stored sweep that ran to their end, in their order. Raises StoreError if none did."""
    metric = space.spec.objective.metric
    by_task = (
        f"SELECT trial AS number, task, coalesce(avg({metric}), 'nan') AS value, sum(device_s + saved_s) AS device_s "
        "FROM tasks WHERE trial IN "
        f"(SELECT trial FROM seeds WHERE status = 'finished' AND {metric} IS NOT NULL) GROUP BY ALL"
    )
    query = (
        "SELECT number, list(value ORDER BY task) AS value_T, list(device_s ORDER BY task) AS device_s_T "
        f"FROM ({by_task}) GROUP BY number ORDER BY number"
    )
    rows = open_results(results, space.name).sql(query).rows()
    if not rows:
        raise StoreError(f"{space.file}: nothing to simulate: no configuration has finished")
    return [CompletedTrial(**row) for row in rows]
