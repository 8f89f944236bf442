"""Rows of the result tables, from what a run has measured."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from trainer.config.run_config import RunConfig
from trainer.data.tasks import TaskStream
from trainer.results import metrics
from trainer.results.columns import config_row
from trainer.results.provenance import device_name, git_commit, versions
from trainer.training.loop import EpochReport
from trainer.training.state import History, State

Row = dict[str, Any]


@dataclass(frozen=True)
class RunResult:
    """One run, as rows of the tables ``trials`` (one), ``tasks``, ``epochs`` and ``classes``."""

    config: RunConfig
    status: str
    """finished, pruned or diverged"""
    row: Row
    tasks: list[Row]
    epochs: list[Row]
    classes: list[Row]

    def tables(self) -> dict[str, list[Row]]:
        return {"trials": [self.row], "tasks": self.tasks, "epochs": self.epochs, "classes": self.classes}


def epoch_row(report: EpochReport, member: int) -> Row:
    return {
        "task": report.task,
        "stage": report.stage,
        "epoch": report.epoch,
        "steps": report.steps,
        "lr": report.lr,
        "loss": report.loss[member],
        "terms": {name: values[member] for name, values in report.terms.items()},
        "train_acc_pct": report.train_acc_pct[member],
        "wall_s": report.wall_s,
    }


def class_rows(
    task_stream: TaskStream,
    config: RunConfig,
    task: int,
    correct_K: Sequence[int],
    head_norm_K: Sequence[float],
    grad_norm_K: Sequence[float],
) -> list[Row]:
    """A row for each class seen after ``task``."""
    totals_C = task_stream.eval_counts_C
    rows = []
    for learnt in task_stream.tasks[: task + 1]:
        for position in range(learnt.first, learnt.first + learnt.classes):
            images = int(task_stream.counts_C[position])
            total = totals_C[position]
            rows.append(
                {
                    "task": task,
                    "class_id": task_stream.class_ids_C[position],
                    "class_name": task_stream.class_names_C[position],
                    "position": position,
                    "first_task": learnt.index,
                    "images": images,
                    "exemplars": min(images, config.memory.per_class),
                    "shot": metrics.shot(images),
                    "acc_pct": 100 * correct_K[position] / total if total else None,
                    "head_norm": head_norm_K[position],
                    "head_grad_norm": grad_norm_K[position],
                }
            )
    return rows


def task_row(
    task_stream: TaskStream,
    task: int,
    history: History,
    correct_K: Mapping[str, Sequence[int]],
    classes: Sequence[Row],
    exemplars_before: int,
    wall_s: float,
    device_s: float,
) -> Row:
    """The row of one task; appends its accuracies to the history's matrix.

    ``correct_K``: evaluation images classified right, by the method's own classifier under the empty name.
    """
    by_task, *others = (_by_task(task_stream, task, found_K) for found_K in correct_K.values())
    history.accuracy_pct.append(by_task)
    sizes = [part.classes for part in task_stream.tasks]
    matrix = history.accuracy_pct
    by_shot = metrics.mean_by_shot([row["acc_pct"] for row in classes], [row["images"] for row in classes])
    norms = [row["head_norm"] for row in classes]
    mean = sum(norms) / len(norms)
    return {
        "task": task,
        "classes_new": sizes[task],
        "classes_seen": len(classes),
        "images_new": len(task_stream.tasks[task].train_N),
        "images_memory": exemplars_before,
        "acc_task_mean_pct": metrics.average_task_mean(matrix),
        "acc_class_weighted_pct": metrics.average_class_weighted(matrix, sizes),
        "phase_acc_task_mean_pct": metrics.phase_task_mean(by_task),
        "phase_acc_class_weighted_pct": metrics.phase_class_weighted(by_task, sizes),
        "acc_by_task_pct": by_task,
        "phase_acc_others_pct": {
            name: metrics.phase_task_mean(found) for name, found in zip(list(correct_K)[1:], others, strict=True)
        },
        "forgetting_pct": metrics.forgetting(matrix),
        **{f"acc_{name}_pct": value for name, value in by_shot.items()},
        "head_norm_mean": mean,
        "head_norm_var": sum((norm - mean) ** 2 for norm in norms) / len(norms),
        "wall_s": wall_s,
        "device_s": device_s,
        "saved_s": 0.0,
    }


def _by_task(task_stream: TaskStream, task: int, correct_K: Sequence[int]) -> list[float]:
    """Accuracy on each task seen after ``task``, in %."""
    found = []
    for part in task_stream.tasks[: task + 1]:
        positions = range(part.first, part.first + part.classes)
        total = sum(task_stream.eval_counts_C[p] for p in positions)
        found.append(100 * sum(correct_K[p] for p in positions) / total)
    return found


def result(config: RunConfig, history: History, task_stream: TaskStream, state: State, members: int) -> RunResult:
    """All rows of one run. ``members``: runs trained together with it, itself counted."""
    ids = {"run_id": config.run_id, "config_id": config.config_id, "seed": config.seed}
    last = history.tasks[-1] if history.tasks else {}
    same = (
        "acc_task_mean_pct",
        "acc_class_weighted_pct",
        "forgetting_pct",
        "acc_many_pct",
        "acc_medium_pct",
        "acc_few_pct",
    )
    row = {
        **ids,
        "status": history.status,
        "error": history.error,
        "split": config.data.evaluation.split,
        "tasks_done": len(history.tasks),
        **{name: last.get(name) for name in same},
        "last_acc_task_mean_pct": last.get("phase_acc_task_mean_pct"),
        "last_acc_class_weighted_pct": last.get("phase_acc_class_weighted_pct"),
        **{name: sum(task[name] for task in history.tasks) for name in ("wall_s", "device_s", "saved_s")},
        "members": members,
        "started_at": datetime.fromisoformat(history.started_at) if history.started_at else None,
        "finished_at": datetime.now(UTC),
        "host": socket.gethostname(),
        "device": device_name(state.device),
        "precision": state.precision,
        "versions": versions(),
        "git_commit": git_commit(),
        "data_fingerprint": task_stream.fingerprint,
        **config_row(config),
    }
    return RunResult(
        config,
        history.status,
        row,
        *([{**ids, **entry} for entry in rows] for rows in (history.tasks, history.epochs, history.classes)),
    )
