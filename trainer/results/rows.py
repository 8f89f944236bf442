"""The rows of results as classes: a column is a field, declared once with its name, type and meaning.

Units are in the names: ``_pct`` percent, ``_s`` seconds. A null in a file is None here.
"""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Row(BaseModel):
    """Base of every row. As JSON it keeps every digit, NaN and infinity."""

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="constants")


class EpochRow(Row):
    """One epoch of a run."""

    task: int = Field(description="0-based")
    stage: str = Field(description="name of the optimisation stage")
    epoch: int = Field(description="0-based, within the stage")
    steps: int = Field(description="optimiser steps of the epoch")
    lr: float = Field(description="learning rate")
    loss: float = Field(description="sum of the terms, mean over the epoch's images")
    terms: dict[str, float] = Field(description="each named term of the loss, mean over the epoch's images")
    train_acc_pct: float = Field(description="accuracy on the augmented training batches, % of images")
    wall_s: float = Field(description="time of the epoch, for all members trained together")


class TaskRow(Row):
    """One task of a run: what was measured after it."""

    task: int = Field(description="0-based")
    classes_new: int = Field(description="classes of this task")
    classes_seen: int = Field(description="classes of this task and all before")
    images_new: int = Field(description="training images of this task")
    images_memory: int = Field(description="exemplars replayed in this task")
    acc_task_mean_pct: float | None = Field(
        description="average incremental accuracy: mean so far of phase_acc_task_mean_pct; null if nothing measures it"
    )
    acc_class_weighted_pct: float | None = Field(description="the same of phase_acc_class_weighted_pct")
    phase_acc_task_mean_pct: float | None = Field(
        description="accuracy after this task: unweighted mean over the tasks seen (acc_by_task_pct)"
    )
    phase_acc_class_weighted_pct: float | None = Field(
        description="accuracy after this task: mean over the classes seen"
    )
    acc_by_task_pct: list[float | None] = Field(
        description="accuracy after this task on each task seen: mean over its classes; null if no image measures it"
    )
    phase_acc_others_pct: dict[str, float] = Field(
        description="phase_acc_task_mean_pct of the auxiliary classifiers that come with the method, by name"
    )
    forgetting_pct: float | None = Field(
        description="mean over earlier tasks of best earlier accuracy minus accuracy now; null in the first task"
    )
    acc_many_pct: float | None = Field(description="mean over seen classes with over 100 training images; null if none")
    acc_medium_pct: float | None = Field(description="mean over seen classes with 20-100 training images; null if none")
    acc_few_pct: float | None = Field(description="mean over seen classes with under 20 training images; null if none")
    acc_top5_pct: float | None = Field(
        None,
        description="mean over seen classes of the images whose class has one of the five highest scores; null with "
        "fewer than six classes",
    )
    ece_pct: float | None = Field(
        None,
        description="expected calibration error over the images of seen classes, 15 bins of confidence; null where the "
        "method gives no probabilities",
    )
    head_norm_mean: float = Field(description="mean over seen classes of the norm of the classifier's row")
    head_norm_var: float = Field(description="variance over seen classes of the norm of the classifier's row")
    wall_s: float = Field(description="time of the task, for all members trained together")
    device_s: float = Field(description="this run's share of the device's time: wall_s over members trained together")
    saved_s: float = Field(0.0, description="device seconds saved by reusing another run's training of this task")


class ClassRow(Row):
    """One class of a run after one of its tasks."""

    task: int = Field(description="0-based: after which task")
    class_id: int = Field(description="the data set's own label, or the place in `data.classes`")
    class_name: str = Field(description="the data set's own name, or the label")
    position: int = Field(description="in the order of learning")
    first_task: int = Field(description="task in which the class was learnt")
    images: int = Field(description="training images of the class")
    eval_images: int | None = Field(None, description="images that the class's accuracy is measured on")
    exemplars: int = Field(description="exemplars kept after this task")
    shot: str = Field(description="many (over 100 images), medium (20 to 100) or few (under 20)")
    acc_pct: float | None = Field(description="accuracy on the class's evaluation images; null if it has none")
    head_norm: float = Field(description="norm of the classifier's row")
    head_grad_norm: float = Field(description="mean over the task's steps of the norm of the row's gradient as applied")


class RunResult(Row):
    """One run: a configuration with one seed, what it came to, and its tasks, epochs and classes.

    A run that failed before its end has what it reached; the rest is None.
    """

    run_id: str = Field(description="hash of the configuration with its seed")
    config_id: str = Field(description="hash of the configuration without its seed and world")
    seed: int = Field(description="seed of the run")
    world: str | None = Field(
        None,
        description="world of the run: the number that its class order and tail are drawn from, or `1993/0` (seeds of "
        "both); null where repetitions differ in their seed alone",
    )
    status: str = Field(description="finished, pruned, diverged or failed")
    error: str | None = Field(None, description="reason, where the status is diverged or failed")
    split: str = Field(
        description="test, validation or validation_from_train: the images that the accuracies are measured on"
    )
    splits: list[str] | None = Field(
        None, description="a line about each choice of images that is not the data set's own, as a plan prints it"
    )
    tasks_done: int = Field(0, description="tasks finished")
    acc_task_mean_pct: float | None = Field(None, description="ACC: mean over tasks of phase_acc_task_mean_pct")
    acc_class_weighted_pct: float | None = Field(None, description="ACC: the same of phase_acc_class_weighted_pct")
    last_acc_task_mean_pct: float | None = Field(None, description="after the last task: unweighted mean over tasks")
    last_acc_class_weighted_pct: float | None = Field(None, description="after the last task: mean weighted by classes")
    forgetting_pct: float | None = Field(None, description="after the last task; null with one task")
    acc_many_pct: float | None = Field(None, description="after the last task: classes with over 100 training images")
    acc_medium_pct: float | None = Field(None, description="after the last task: classes with 20-100 training images")
    acc_few_pct: float | None = Field(None, description="after the last task: classes with under 20 training images")
    acc_top5_pct: float | None = Field(
        None, description="after the last task: classes among the five highest scores; null with fewer than six classes"
    )
    ece_pct: float | None = Field(
        None, description="after the last task: expected calibration error, 15 bins; null without probabilities"
    )
    wall_s: float | None = Field(None, description="time of all tasks, for all members trained together")
    device_s: float | None = Field(None, description="this run's share of the device's time")
    saved_s: float | None = Field(None, description="device seconds saved by reusing another run's first task")
    members: int | None = Field(None, description="runs trained together in one pass, at the start")
    started_at: datetime | None = Field(None, description="time at which training began")
    finished_at: datetime | None = Field(None, description="time at which the run ended")
    host: str | None = Field(None, description="name of the machine")
    device: str | None = Field(None, description="cpu, or the name of the GPU")
    precision: str | None = Field(None, description="float32, bfloat16 or float64")
    torch_threads: int | None = Field(
        None, description="CPU threads of PyTorch; on a CPU they decide the order of sums, and so the last digits"
    )
    versions: dict[str, str] | None = Field(None, description="python and the packages that decide a result")
    git_commit: str | None = Field(
        None, description="commit of the code, -dirty if trainer files differ; without history, a hash of its source"
    )
    data_fingerprint: str | None = Field(None, description="hash of the decoded images and labels")
    config: dict[str, Any] = Field({}, description="values of the configuration, by column")
    tasks: list[TaskRow] = Field([], description="one entry a task")
    epochs: list[EpochRow] = Field([], description="one entry a task and epoch")
    classes: list[ClassRow] = Field([], description="one entry a task and class seen")
