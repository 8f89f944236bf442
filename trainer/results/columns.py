"""The columns of results, derived from the row classes. Imports no torch: what reads results starts fast."""

import functools
import typing
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from typing import Any, Literal, NamedTuple

import pyarrow as pa
from pydantic import BaseModel

from trainer.config.explain import alternatives
from trainer.results.rows import ClassRow, EpochRow, Row, RunResult, TaskRow

VERSION = 2
"""of the schema; readers refuse files of another one"""

DETAILS: dict[str, type[Row]] = {"tasks": TaskRow, "epochs": EpochRow, "classes": ClassRow}
"""columns of a run that hold rows of their own"""

IDS = ("run_id", "config_id", "seed", "world")
"""columns that name a run"""


class Column(NamedTuple):
    """A column of a table: ``doc`` is one line of text."""

    name: str
    type: pa.DataType
    doc: str


@functools.cache
def columns_of(row: type[BaseModel]) -> tuple[Column, ...]:
    """A column for each field of a row class, but for those of its configuration."""
    return tuple(flatten(row, skip=("config",)))


def run_columns(configuration: Iterable[Column]) -> tuple[Column, ...]:
    """All columns of a run: its own, its ``configuration``'s, and last those that hold rows."""
    own = columns_of(RunResult)
    plain = [column for column in own if column.name not in DETAILS]
    return (*plain, *configuration, *(column for column in own if column.name in DETAILS))


def metrics() -> list[str]:
    """Names of the accuracies and of forgetting, which a run and each of its tasks have."""
    return [name for name in accuracies() if name in TaskRow.model_fields]


def accuracies() -> list[str]:
    """Names of the columns of a run that are percent."""
    return [name for name in RunResult.model_fields if name.endswith("_pct")]


def flatten(model: type[BaseModel], prefix: str = "", skip: Collection[str] = ()) -> Iterator[Column]:
    """A column for each field of a model, and of the sections within it, named by its path with underscores."""
    for key, info in model.model_fields.items():
        name = info.alias or key
        if name in skip:
            continue
        (annotation,) = alternatives(info.annotation)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from flatten(annotation, f"{prefix}{name}_")
        else:
            yield Column(prefix + name, arrow_type(annotation), info.description or "")


_PLAIN = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    datetime: pa.timestamp("us", tz="UTC"),
}


def arrow_type(annotation: Any) -> pa.DataType:
    """The Arrow type of a field's annotation. Raises TypeError for one that no column can hold."""
    (annotation,) = alternatives(annotation)
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if isinstance(annotation, type) and issubclass(annotation, Row):
        return pa.struct([(column.name, column.type) for column in columns_of(annotation)])
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return _PLAIN[type(args[0])]
    if origin in (tuple, list):
        return pa.list_(arrow_type(args[0]))
    if origin is dict:
        return pa.map_(arrow_type(args[0]), arrow_type(args[1]))
    raise TypeError(f"no column type for {annotation}")
