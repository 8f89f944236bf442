"""Methods seen through their declared fields, so that tests need to know none by name."""

import contextlib
import importlib
import sys
import types
import typing
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

import trainer.methods
from trainer.methods.base import METHODS
from trainer.registry import choices


def others(name: str) -> dict[str, list[Any]]:
    """For each field of a method, as files call it, a few allowed values that are not its default."""
    method = METHODS.find(name)
    found: dict[str, list[Any]] = {}
    for key, info in method.model_fields.items():
        field = info.alias or key
        values = choices(info) or _candidates(info.annotation, info.default)
        found[field] = [v for v in values if v != info.default and _allowed(name, {field: v})]
        assert found[field], f"{name}.{field}: no second value is allowed beside the other fields' defaults"
    return found


def together(name: str, fields: Collection[str], which: int = 0) -> dict[str, Any]:
    """Another value for each of these fields, but where it goes with none of the others."""
    chosen: dict[str, Any] = {}
    for field, values in others(name).items():
        if field in fields and _allowed(name, {**chosen, field: values[which]}):
            chosen[field] = values[which]
    return chosen


def switches(name: str) -> list[tuple[str, Any]]:
    """Each choice among words, or on and off, that is not the default."""
    return [
        (field, value) for field, values in others(name).items() for value in values if isinstance(value, str | bool)
    ]


def _candidates(annotation: Any, default: Any) -> list[Any]:
    if typing.get_origin(annotation) is Literal:
        return [choice for choice in typing.get_args(annotation) if choice != default]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        inner = next(a for a in typing.get_args(annotation) if a is not type(None))
        return [v for v in (*_candidates(inner, 1), 1) if v != default] if default is None else [None]
    if annotation is bool:
        return [not default]
    if annotation is int:
        return [default + 1, default + 2, default - 1]
    return [default * 0.5, default * 1.5, default + 0.25, default - 0.25] if default else [0.25, 0.5, 1.0]


def _allowed(name: str, values: dict[str, Any]) -> bool:
    try:
        METHODS.find(name).model_validate(values)
    except ValidationError:
        return False
    return True


@contextlib.contextmanager
def method_folder(folder: Path) -> Iterator[None]:
    """Within: the files of ``folder`` are methods beside the package's own."""
    before = set(METHODS.names())
    trainer.methods.__path__.append(str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        for name in set(METHODS.names()) - before:
            sys.modules.pop(f"trainer.methods.{name}", None)
        trainer.methods.__path__.remove(str(folder))
