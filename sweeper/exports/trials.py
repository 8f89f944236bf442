"""The trials of a sweep that have ended, as other tools know trials: parameters, values, steps and attributes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sweeper.execution.restore import stored_trials
from sweeper.search.space import Params, Space
from sweeper.store.results import open_results
from sweeper.store.store import Store
from trainer.results.columns import accuracies, metrics


@dataclass(frozen=True)
class Trial:
    """A configuration that has ended, over its seeds."""

    number: int
    params: Params
    status: str
    """finished, pruned, diverged or failed"""
    value: float | None
    """the objective; None unless all seeds finished"""
    others: Sequence[float]
    """further objectives; empty without a value"""
    violations: Mapping[str, float]
    """how far it is past the bound of each constraint, by its name"""
    objective_by_task: Mapping[int, float]
    metrics: Mapping[str, float]
    """every accuracy that a run has, mean over seeds"""
    metrics_by_task: Mapping[str, Mapping[int, float]]
    """those that a task has, mean over seeds, by task"""
    attributes: Mapping[str, Any]
    """whatever else identifies and describes it, as plain values"""
    started_at: datetime | None
    finished_at: datetime | None


def ended_trials(results: str, space: Space) -> list[Trial]:
    """All trials of a stored sweep that have ended, in the order of their numbers."""
    stored = stored_trials(Store(results, space.name), space.goals)
    with open_results(results, space.name).snapshot() as now:
        means = ", ".join(f"avg({name}) FILTER (WHERE isfinite({name})) AS {name}" for name in accuracies())
        runs = now.sql(
            f"SELECT trial, {means}, any_value(config_id) AS config_id, list(DISTINCT seed ORDER BY seed) AS seeds, "
            "list(DISTINCT world ORDER BY world) FILTER (WHERE world IS NOT NULL) AS worlds, "
            "sum(device_s) AS device_s, sum(saved_s) AS saved_s, any_value(error) AS error, any_value(method_name) "
            "AS method, any_value(device) AS device, any_value(precision) AS precision, any_value(git_commit) AS "
            "git_commit, min(started_at) AS started_at, max(finished_at) AS finished_at FROM runs GROUP BY trial"
        ).rows()
        by_task = ", ".join(f"avg({name}) FILTER (WHERE isfinite({name})) AS {name}" for name in metrics())
        tasks = now.sql(f"SELECT trial, task, {by_task} FROM tasks GROUP BY ALL ORDER BY trial, task").rows()
    steps: dict[int, dict[str, dict[int, float]]] = {}
    for row in tasks:
        for name in metrics():
            if row[name] is not None:
                steps.setdefault(row["trial"], {}).setdefault(name, {})[row["task"]] = row[name]
    return [_trial(row, stored[row["trial"]], steps.get(row["trial"], {}), space) for row in sorted(runs, key=_number)]


def as_text(value: Any) -> str:
    """A value of a parameter or attribute as text."""
    return value if isinstance(value, str) else json.dumps(value)


def _number(row: Mapping[str, Any]) -> int:
    return int(row["trial"])


def _trial(row: Mapping[str, Any], stored: Any, steps: Mapping[str, Mapping[int, float]], space: Space) -> Trial:
    described: Sequence[str] = (
        *("config_id", "seeds", "worlds", "method", "device_s", "saved_s"),
        *("device", "precision", "git_commit", "error"),
    )
    return Trial(
        number=row["trial"],
        params=stored.params,
        status=stored.outcome.status,
        value=stored.outcome.value,
        others=list(stored.outcome.others.values()),
        violations=stored.outcome.violations,
        objective_by_task=stored.steps,
        metrics={name: row[name] for name in accuracies() if row[name] is not None},
        metrics_by_task=steps,
        attributes={
            "trial": row["trial"],
            "sweep": space.name,
            "status": stored.outcome.status,
            **{name: row[name] for name in described if row[name] is not None},
        },
        started_at=row["started_at"],
        finished_at=row["finished_at"],
    )
