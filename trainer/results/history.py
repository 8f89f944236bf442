"""What a run has reported so far, and the rows made of what it measures."""

import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import torch
from pydantic import Field

from trainer.config.run_config import RunConfig
from trainer.data.tasks import TaskStream
from trainer.results import columns, metrics
from trainer.results.config_columns import config_values
from trainer.results.provenance import device_name, git_commit, versions
from trainer.results.rows import ClassRow, EpochRow, Row, RunResult, TaskRow


class History(Row):
    """The rows of one run under way. As JSON it is part of a checkpoint."""

    status: str = "running"
    error: str | None = None
    started_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    accuracy_pct: list[list[float | None]] = Field([])
    """``[t][u]``: accuracy on task u after task t; None where no image measures it"""
    tasks: list[TaskRow] = Field([])
    epochs: list[EpochRow] = Field([])
    classes: list[ClassRow] = Field([])

    def add_task(
        self,
        task_stream: TaskStream,
        correct_K: Mapping[str, Sequence[int]],
        head_norm_K: Sequence[float],
        head_grad_norm_K: Sequence[float],
        images_memory: int,
        per_class: int,
        wall_s: float,
        members: int,
        *,
        top5_K: Sequence[int] | None = None,
        ece_pct: float | None = None,
    ) -> None:
        """Append the rows of a task that has been trained, and of the classes seen by then.

        ``correct_K``: evaluation images classified right, by the method's own classifier under the empty name;
        ``images_memory``: exemplars replayed in the task; ``per_class``: exemplars kept of a class; ``wall_s``: time
        of the task for all of the ``members``; ``top5_K``: evaluation images whose class has one of the five highest
        scores; ``ece_pct``: expected calibration error.
        """
        task = len(self.tasks)
        learnt, totals_C = task_stream.tasks[: task + 1], task_stream.eval_counts_C
        images_C = task_stream.counts_C.tolist()
        spans = [slice(part.first, part.first + part.classes) for part in learnt]

        def by_task(found_K: Sequence[int]) -> list[float | None]:
            return [metrics.task_accuracy(found_K[span], totals_C[span]) for span in spans]

        own_K, others_K = correct_K[""], {name: found_K for name, found_K in correct_K.items() if name}
        rows = [
            ClassRow(
                task=task,
                class_id=task_stream.class_ids_C[position],
                class_name=task_stream.class_names_C[position],
                position=position,
                first_task=part.index,
                images=images_C[position],
                eval_images=totals_C[position],
                exemplars=min(images_C[position], per_class),
                shot=metrics.shot(images_C[position]),
                acc_pct=100 * own_K[position] / totals_C[position] if totals_C[position] else None,
                head_norm=head_norm_K[position],
                head_grad_norm=head_grad_norm_K[position],
            )
            for part in learnt
            for position in range(part.first, part.first + part.classes)
        ]
        self.classes += rows
        self.accuracy_pct.append(by_task(own_K))
        matrix, measured = self.accuracy_pct, [sum(map(bool, totals_C[span])) for span in spans]
        by_shot = metrics.mean_by_shot([row.acc_pct for row in rows], [row.images for row in rows])
        norms = [row.head_norm for row in rows]
        mean_norm = sum(norms) / len(norms)
        self.tasks.append(
            TaskRow(
                task=task,
                classes_new=learnt[task].classes,
                classes_seen=len(rows),
                images_new=len(learnt[task].train_N),
                images_memory=images_memory,
                acc_task_mean_pct=metrics.average_task_mean(matrix),
                acc_class_weighted_pct=metrics.average_class_weighted(matrix, measured),
                phase_acc_task_mean_pct=metrics.phase_task_mean(matrix[task]),
                phase_acc_class_weighted_pct=metrics.phase_class_weighted(matrix[task], measured),
                acc_by_task_pct=matrix[task],
                phase_acc_others_pct={
                    name: mean
                    for name, found_K in others_K.items()
                    if (mean := metrics.phase_task_mean(by_task(found_K))) is not None
                },
                forgetting_pct=metrics.forgetting(matrix),
                acc_many_pct=by_shot["many"],
                acc_medium_pct=by_shot["medium"],
                acc_few_pct=by_shot["few"],
                acc_top5_pct=None if top5_K is None else metrics.class_mean(top5_K[: len(rows)], totals_C[: len(rows)]),
                ece_pct=ece_pct,
                head_norm_mean=mean_norm,
                head_norm_var=sum((norm - mean_norm) ** 2 for norm in norms) / len(norms),
                wall_s=wall_s,
                device_s=wall_s / members,
            )
        )


def measured_metrics(task_stream: TaskStream) -> list[str]:
    """The metrics that a run has at its end: no accuracy on few-shot classes where there are none, for example.

    Of a method that gives probabilities: without, ``ece_pct`` is null.
    """
    history, wrong_C = History(), [0] * len(task_stream.class_ids_C)
    top5_C = wrong_C if len(wrong_C) > metrics.TOP else None
    for _ in task_stream.tasks:
        history.add_task(task_stream, {"": wrong_C}, wrong_C, wrong_C, 0, 0, 0.0, 1, top5_K=top5_C, ece_pct=100.0)
    return [name for name in columns.metrics() if getattr(history.tasks[-1], name) is not None]


def run_result(
    config: RunConfig, history: History, task_stream: TaskStream, device: torch.device, precision: str, members: int
) -> RunResult:
    """The result of one run that has ended. ``members``: runs trained together with it, itself counted."""
    last = history.tasks[-1] if history.tasks else None
    return RunResult(
        run_id=config.run_id,
        config_id=config.config_id,
        seed=config.seed,
        world=None if config.world is None else str(config.world),
        status=history.status,
        error=history.error,
        split=config.data.evaluation.split,
        splits=list(task_stream.said),
        tasks_done=len(history.tasks),
        **(last.model_dump(include=set(columns.metrics())) if last else {}),
        last_acc_task_mean_pct=last and last.phase_acc_task_mean_pct,
        last_acc_class_weighted_pct=last and last.phase_acc_class_weighted_pct,
        wall_s=sum(task.wall_s for task in history.tasks),
        device_s=sum(task.device_s for task in history.tasks),
        saved_s=sum(task.saved_s for task in history.tasks),
        members=members,
        started_at=history.started_at,
        finished_at=datetime.now(UTC),
        host=socket.gethostname(),
        device=device_name(device),
        precision=precision,
        torch_threads=torch.get_num_threads(),
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
        world=None if config.world is None else str(config.world),
        status="failed",
        error=error,
        split=config.data.evaluation.split,
        finished_at=datetime.now(UTC),
        git_commit=git_commit(),
        config=config_values(config),
    )
