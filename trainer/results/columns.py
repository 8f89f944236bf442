"""The tables that results are written in: one row a run, a run and epoch, a run and task, a run and task and class.

Units are in the names. Every field of a configuration has a typed column of its own in ``trials``,
named by its path with underscores: ``method_alpha``, ``data_imbalance_ratio``.
"""

from __future__ import annotations

import functools
import types
import typing
from typing import Any, Literal, NamedTuple

import pyarrow as pa
from pydantic import BaseModel

from trainer.config.run_config import RunConfig
from trainer.methods.base import find, names

VERSION = 1
"""of these schemas; readers refuse files of a newer one"""


class Column(NamedTuple):
    name: str
    type: pa.DataType
    doc: str


_RUN = (
    Column("run_id", pa.string(), "hash of the configuration with its seed"),
    Column("config_id", pa.string(), "hash of the configuration without its seed"),
    Column("seed", pa.int64(), "seed of the run"),
)

EPOCHS = (
    *_RUN,
    Column("task", pa.int32(), "0-based"),
    Column("stage", pa.string(), "name of the optimisation stage"),
    Column("epoch", pa.int32(), "0-based, within the stage"),
    Column("steps", pa.int32(), "optimiser steps of the epoch"),
    Column("lr", pa.float64(), "learning rate"),
    Column("loss", pa.float64(), "sum of the terms, mean over the epoch's images"),
    Column("terms", pa.map_(pa.string(), pa.float64()), "each named term of the loss, mean over the epoch's images"),
    Column("train_acc_pct", pa.float64(), "accuracy on the augmented training batches, % of images"),
    Column("wall_s", pa.float64(), "time of the epoch, for all members trained together"),
)

TASKS = (
    *_RUN,
    Column("task", pa.int32(), "0-based"),
    Column("classes_new", pa.int32(), "classes of this task"),
    Column("classes_seen", pa.int32(), "classes of this task and all before"),
    Column("images_new", pa.int32(), "training images of this task"),
    Column("images_memory", pa.int32(), "exemplars replayed in this task"),
    Column(
        "acc_task_mean_pct",
        pa.float64(),
        "average incremental accuracy so far: mean over tasks of phase_acc_task_mean_pct",
    ),
    Column("acc_class_weighted_pct", pa.float64(), "the same of phase_acc_class_weighted_pct"),
    Column("phase_acc_task_mean_pct", pa.float64(), "accuracy after this task: unweighted mean over the tasks seen"),
    Column("phase_acc_class_weighted_pct", pa.float64(), "accuracy after this task: tasks weighted by their classes"),
    Column("acc_by_task_pct", pa.list_(pa.float64()), "accuracy after this task on each task seen"),
    Column(
        "phase_acc_others_pct",
        pa.map_(pa.string(), pa.float64()),
        "phase_acc_task_mean_pct of other classifiers that come with the method, by name",
    ),
    Column(
        "forgetting_pct",
        pa.float64(),
        "mean over earlier tasks of best earlier accuracy minus accuracy now; null in the first task",
    ),
    Column("acc_many_pct", pa.float64(), "mean over seen classes with more than 100 training images; null if none"),
    Column("acc_medium_pct", pa.float64(), "mean over seen classes with 20 to 100 training images; null if none"),
    Column("acc_few_pct", pa.float64(), "mean over seen classes with fewer than 20 training images; null if none"),
    Column("head_norm_mean", pa.float64(), "mean over seen classes of the norm of the classifier's row"),
    Column("head_norm_var", pa.float64(), "variance over seen classes of the norm of the classifier's row"),
    Column("wall_s", pa.float64(), "time of the task, for all members trained together"),
    Column("device_s", pa.float64(), "this run's share of the device's time: wall_s over the members trained together"),
    Column(
        "saved_s", pa.float64(), "device time not spent, because another run's training of this task was taken over"
    ),
)

CLASSES = (
    *_RUN,
    Column("task", pa.int32(), "0-based: after which task"),
    Column("class_id", pa.int32(), "the data set's own label"),
    Column("class_name", pa.string(), "the data set's own name, or the label"),
    Column("position", pa.int32(), "in the order of learning"),
    Column("first_task", pa.int32(), "in which the class was learnt"),
    Column("images", pa.int32(), "training images of the class"),
    Column("exemplars", pa.int32(), "kept after this task"),
    Column("shot", pa.string(), "many (over 100 images), medium (20 to 100) or few (under 20)"),
    Column("acc_pct", pa.float64(), "accuracy on the class's evaluation images; null if it has none"),
    Column("head_norm", pa.float64(), "norm of the classifier's row"),
    Column("head_grad_norm", pa.float64(), "mean over the task's steps of the norm of the row's gradient as applied"),
)

SUMMARY = (
    Column("status", pa.string(), "finished, pruned, diverged or failed"),
    Column("error", pa.string(), "why, where the status is diverged or failed"),
    Column("split", pa.string(), "test or validation: what the accuracies are measured on"),
    Column("tasks_done", pa.int32(), "tasks finished"),
    Column("acc_task_mean_pct", pa.float64(), "ACC: mean over tasks of phase_acc_task_mean_pct"),
    Column("acc_class_weighted_pct", pa.float64(), "ACC: mean over tasks of phase_acc_class_weighted_pct"),
    Column("last_acc_task_mean_pct", pa.float64(), "after the last task: unweighted mean over tasks"),
    Column("last_acc_class_weighted_pct", pa.float64(), "after the last task: tasks weighted by their classes"),
    Column("forgetting_pct", pa.float64(), "after the last task; null with one task"),
    Column("acc_many_pct", pa.float64(), "after the last task: classes with more than 100 training images"),
    Column("acc_medium_pct", pa.float64(), "after the last task: classes with 20 to 100 training images"),
    Column("acc_few_pct", pa.float64(), "after the last task: classes with fewer than 20 training images"),
    Column("wall_s", pa.float64(), "time of all tasks, for all members trained together"),
    Column("device_s", pa.float64(), "this run's share of the device's time"),
    Column("saved_s", pa.float64(), "device time saved by taking over the first task from another run"),
    Column("members", pa.int32(), "runs trained together in one pass, at the start"),
    Column("started_at", pa.timestamp("us", tz="UTC"), ""),
    Column("finished_at", pa.timestamp("us", tz="UTC"), ""),
    Column("host", pa.string(), "name of the machine"),
    Column("device", pa.string(), "cpu, or the name of the GPU"),
    Column("precision", pa.string(), "float32, bfloat16 or float64"),
    Column("versions", pa.map_(pa.string(), pa.string()), "python and the packages that decide a result"),
    Column(
        "git_commit",
        pa.string(),
        "of the code; -dirty where files of the trainer differed; without history, a hash of its source",
    ),
    Column("data_fingerprint", pa.string(), "hash of the decoded images and labels"),
)


def config_columns() -> tuple[Column, ...]:
    """A column for every field of a run configuration, over all methods."""
    return _columns_over(tuple(names()))


@functools.cache  # every report that is stored and every query asks, and the answer takes milliseconds
def _columns_over(methods: tuple[str, ...]) -> tuple[Column, ...]:
    columns = [*_flatten(RunConfig, "", skip={"method", "seed"}), Column("method_name", pa.string(), "the method")]
    seen: dict[str, Column] = {}
    for name in methods:
        for column in _flatten(find(name), "method_", skip=set()):
            known = seen.setdefault(column.name, column)
            if known.type != column.type:
                raise TypeError(f"{name}: field {column.name} is {column.type}, in another method {known.type}")
    return (*columns, *sorted(seen.values()))


def config_row(config: RunConfig) -> dict[str, Any]:
    """The values of ``config_columns`` for one configuration."""
    row: dict[str, Any] = {}

    def walk(section: dict[str, Any], prefix: str) -> None:
        for key, value in section.items():
            if isinstance(value, dict):
                walk(value, f"{prefix}{key}_")
            else:
                row[prefix + key] = value

    walk({k: v for k, v in config.as_dict().items() if k not in ("seed", "stage2")}, "")
    walk({"stage2": {} if config.stage2 is None else config.stage2.model_dump(mode="json")}, "")
    return row


def trials() -> tuple[Column, ...]:
    return (*_RUN, *SUMMARY, *config_columns())


def run_tables() -> dict[str, tuple[Column, ...]]:
    """The tables of one run, by name."""
    return {"trials": trials(), "tasks": TASKS, "epochs": EPOCHS, "classes": CLASSES}


def arrow_schema(columns: tuple[Column, ...]) -> pa.Schema:
    """The Arrow schema, with the version of this page in its metadata."""
    return pa.schema([pa.field(c.name, c.type) for c in columns], metadata={"schema_version": str(VERSION)})


def _flatten(model: type[BaseModel], prefix: str, skip: set[str]) -> list[Column]:
    columns: list[Column] = []
    for key, info in model.model_fields.items():
        name = info.alias or key
        if name in skip:
            continue
        annotation = _inner(info.annotation)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            columns += _flatten(annotation, f"{prefix}{name}_", skip=set())
        else:
            columns.append(Column(prefix + name, _arrow_type(annotation), info.description or ""))
    return columns


def _inner(annotation: Any) -> Any:
    """``T`` of ``T | None``."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        (annotation,) = [a for a in typing.get_args(annotation) if a is not type(None)]
    return annotation


def _arrow_type(annotation: Any) -> pa.DataType:
    plain = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    if annotation in plain:
        return plain[annotation]
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return plain[type(args[0])]
    if origin is tuple:
        return pa.list_(_arrow_type(args[0]))
    if origin in (typing.Union, types.UnionType):
        return _arrow_type(_inner(annotation))
    if origin is typing.Annotated:
        return _arrow_type(args[0])
    raise TypeError(f"no column type for {annotation}")
