"""Results without training: rows of made-up runs, small or as long as those of the real protocol."""

import functools
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from sweeper.store.store import Store
from trainer.config.run_config import RunConfig
from trainer.methods.base import METHODS
from trainer.results.config_columns import config_values
from trainer.results.rows import ClassRow, EpochRow, RunResult, TaskRow

CLASSES_OF_A_TASK = 10


def task_row(task: int, **values: Any) -> TaskRow:
    """A row of a task that nobody trained."""
    fields: dict[str, Any] = {
        "classes_new": CLASSES_OF_A_TASK,
        "classes_seen": CLASSES_OF_A_TASK * (task + 1),
        "images_new": 500,
        "images_memory": 20 * task,
        "acc_task_mean_pct": 50.0,
        "acc_class_weighted_pct": 50.5,
        "phase_acc_task_mean_pct": 49.0,
        "phase_acc_class_weighted_pct": 49.5,
        "acc_by_task_pct": [1.0 + earlier for earlier in range(task + 1)],
        "phase_acc_others_pct": {},
        "forgetting_pct": 3.5 if task else None,
        "acc_many_pct": 60.0,
        "acc_medium_pct": 50.0,
        "acc_few_pct": None,
        "head_norm_mean": 1.25,
        "head_norm_var": 0.25,
        "wall_s": 2.0,
        "device_s": 1.0,
    }
    return TaskRow(task=task, **{**fields, **values})


def epoch_row(task: int, epoch: int, **values: Any) -> EpochRow:
    """A row of an epoch that nobody trained."""
    terms = {"ce": 1.0 + epoch / 7, "kd": 0.5 + task / 3}
    fields: dict[str, Any] = {
        "stage": "train",
        "steps": 5,
        "lr": 0.1,
        "loss": sum(terms.values()),
        "terms": terms,
        "train_acc_pct": 10.0 + epoch / 3,
        "wall_s": 0.25,
    }
    return EpochRow(task=task, epoch=epoch, **{**fields, **values})


def class_row(task: int, position: int, **values: Any) -> ClassRow:
    """A row of a class that nobody trained."""
    fields: dict[str, Any] = {
        "class_id": position,
        "class_name": f"class {position}",
        "first_task": position // CLASSES_OF_A_TASK,
        "images": 500 - position,
        "exemplars": 20,
        "shot": "many",
        "acc_pct": 50.0 + position / 7 + task,
        "head_norm": 1.0 + position / 11,
        "head_grad_norm": 0.125,
    }
    return ClassRow(task=task, position=position, **{**fields, **values})


@functools.cache
def _configuration(method: str) -> dict[str, Any]:
    values = config_values(RunConfig(method=METHODS.find(method)()))
    return {name: value for name, value in values.items() if value is not None}


def result(
    trial: int,
    seed: int,
    acc: float | None = 50.0,
    *,
    method: str = "finetune",
    tasks: int = 2,
    epochs: int = 1,
    classes: bool = True,
    **values: Any,
) -> RunResult:
    """The result of a run that nobody trained, which names its trial and seed in each of its ids.

    ``epochs`` of each task; ``classes``: 10 more after each task; ``values``: fields of the result.
    """
    seen = CLASSES_OF_A_TASK if classes else 0
    fields: dict[str, Any] = {
        "run_id": f"r{trial}-{seed}",
        "config_id": f"c{trial}",
        "seed": seed,
        "status": "finished",
        "split": "validation",
        "tasks_done": tasks,
        "acc_task_mean_pct": acc,
        "device_s": 1.0 * tasks,
        "saved_s": 0.0,
        "finished_at": datetime(2026, 1, 1, tzinfo=UTC),
        "versions": {"torch": "2"},
        "data_fingerprint": "images",
        "config": _configuration(method),
        "tasks": [task_row(task) for task in range(tasks)],
        "epochs": [epoch_row(task, epoch) for task in range(tasks) for epoch in range(epochs)],
        "classes": [class_row(task, position) for task in range(tasks) for position in range(seen * (task + 1))],
    }
    return RunResult(**{**fields, **values})


def store_trials(store: Store, trials: Iterable[int], seeds: int = 2, **how: Any) -> None:
    """Store these trials; a run's accuracy is ``accuracy(trial, seed)``. ``how``: as for ``result``."""
    for trial in trials:
        runs = [result(trial, seed, accuracy(trial, seed), **how) for seed in range(seeds)]
        store.finish_trial(trial, runs, attempt="a", params={"method.alpha": 0.5 + trial})


def accuracy(trial: int, seed: int) -> float:
    """A number that no other run of ``store_trials`` has."""
    return trial + seed / 7
