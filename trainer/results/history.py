"""What a run has reported so far, and the rows made of what it measures."""

import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import torch
from pydantic import Field

from trainer.config.run_config import RunConfig
from trainer.data.tasks import TaskStream
from trainer.results import metrics
from trainer.results.columns import config_values
from trainer.results.provenance import device_name, git_commit, versions
from trainer.results.rows import ClassRow, EpochRow, Row, RunResult, TaskRow


class History(Row):
    """The rows of one run under way. As JSON it is part of a checkpoint."""

    status: str = "running"
    error: str | None = None
    started_at: datetime | None = None
    accuracy_pct: list[list[float]] = Field([])
    """``[t][u]``: accuracy on task u after task t"""
    tasks: list[TaskRow] = Field([])
    epochs: list[EpochRow] = Field([])
    classes: list[ClassRow] = Field([])


def class_rows(
    task_stream: TaskStream,
    config: RunConfig,
    task: int,
    correct_K: Sequence[int],
    head_norm_K: Sequence[float],
    grad_norm_K: Sequence[float],
) -> list[ClassRow]:
    """A row for each class seen after ``task``."""
    totals_C = task_stream.eval_counts_C
    rows = []
    for learnt in task_stream.tasks[: task + 1]:
        for position in range(learnt.first, learnt.first + learnt.classes):
            images = int(task_stream.counts_C[position])
            total = totals_C[position]
            rows.append(
                ClassRow(
                    task=task,
                    class_id=task_stream.class_ids_C[position],
                    class_name=task_stream.class_names_C[position],
                    position=position,
                    first_task=learnt.index,
                    images=images,
                    exemplars=min(images, config.memory.per_class),
                    shot=metrics.shot(images),
                    acc_pct=100 * correct_K[position] / total if total else None,
                    head_norm=head_norm_K[position],
                    head_grad_norm=grad_norm_K[position],
                )
            )
    return rows


def task_row(
    task_stream: TaskStream,
    task: int,
    history: History,
    correct_K: Mapping[str, Sequence[int]],
    classes: Sequence[ClassRow],
    exemplars_before: int,
    wall_s: float,
    device_s: float,
) -> TaskRow:
    """The row of one task; appends its accuracies to the history's matrix.

    ``correct_K``: evaluation images classified right, by the method's own classifier under the empty name.
    """
    by_task, *others = (_by_task(task_stream, task, found_K) for found_K in correct_K.values())
    history.accuracy_pct.append(by_task)
    sizes = [part.classes for part in task_stream.tasks]
    matrix = history.accuracy_pct
    by_shot = metrics.mean_by_shot([row.acc_pct for row in classes], [row.images for row in classes])
    norms = [row.head_norm for row in classes]
    mean = sum(norms) / len(norms)
    return TaskRow(
        task=task,
        classes_new=sizes[task],
        classes_seen=len(classes),
        images_new=len(task_stream.tasks[task].train_N),
        images_memory=exemplars_before,
        acc_task_mean_pct=metrics.average_task_mean(matrix),
        acc_class_weighted_pct=metrics.average_class_weighted(matrix, sizes),
        phase_acc_task_mean_pct=metrics.phase_task_mean(by_task),
        phase_acc_class_weighted_pct=metrics.phase_class_weighted(by_task, sizes),
        acc_by_task_pct=by_task,
        phase_acc_others_pct={
            name: metrics.phase_task_mean(found) for name, found in zip(list(correct_K)[1:], others, strict=True)
        },
        forgetting_pct=metrics.forgetting(matrix),
        acc_many_pct=by_shot["many"],
        acc_medium_pct=by_shot["medium"],
        acc_few_pct=by_shot["few"],
        head_norm_mean=mean,
        head_norm_var=sum((norm - mean) ** 2 for norm in norms) / len(norms),
        wall_s=wall_s,
        device_s=device_s,
    )


def _by_task(task_stream: TaskStream, task: int, correct_K: Sequence[int]) -> list[float]:
    """Accuracy on each task seen after ``task``, in %."""
    found = []
    for part in task_stream.tasks[: task + 1]:
        positions = range(part.first, part.first + part.classes)
        total = sum(task_stream.eval_counts_C[p] for p in positions)
        found.append(100 * sum(correct_K[p] for p in positions) / total)
    return found


def run_result(
    config: RunConfig, history: History, task_stream: TaskStream, device: torch.device, precision: str, members: int
) -> RunResult:
    """The result of one run that has ended. ``members``: runs trained together with it, itself counted."""
    last = history.tasks[-1] if history.tasks else None
    return RunResult(
        run_id=config.run_id,
        config_id=config.config_id,
        seed=config.seed,
        status=history.status,
        error=history.error,
        split=config.data.evaluation.split,
        tasks_done=len(history.tasks),
        acc_task_mean_pct=last and last.acc_task_mean_pct,
        acc_class_weighted_pct=last and last.acc_class_weighted_pct,
        last_acc_task_mean_pct=last and last.phase_acc_task_mean_pct,
        last_acc_class_weighted_pct=last and last.phase_acc_class_weighted_pct,
        forgetting_pct=last and last.forgetting_pct,
        acc_many_pct=last and last.acc_many_pct,
        acc_medium_pct=last and last.acc_medium_pct,
        acc_few_pct=last and last.acc_few_pct,
        wall_s=sum(task.wall_s for task in history.tasks),
        device_s=sum(task.device_s for task in history.tasks),
        saved_s=sum(task.saved_s for task in history.tasks),
        members=members,
        started_at=history.started_at,
        finished_at=datetime.now(UTC),
        host=socket.gethostname(),
        device=device_name(device),
        precision=precision,
        versions=versions(),
        git_commit=git_commit(),
        data_fingerprint=task_stream.fingerprint,
        config=config_values(config),
        tasks=history.tasks,
        epochs=history.epochs,
        classes=history.classes,
    )


def failed_result(config: RunConfig, error: str) -> RunResult:
    """The result of a run that could not be trained, for the reason given."""
    return RunResult(
        run_id=config.run_id,
        config_id=config.config_id,
        seed=config.seed,
        status="failed",
        error=error,
        split=config.data.evaluation.split,
        finished_at=datetime.now(UTC),
        git_commit=git_commit(),
        config=config_values(config),
    )
