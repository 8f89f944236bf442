"""Turns pydantic's findings into the one line that a user reads."""

from __future__ import annotations

import re
import types
import typing
from typing import Any

from pydantic import BaseModel, ValidationError

from trainer.errors import ConfigError, nearest

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def explain(
    error: ValidationError, model: type[BaseModel], *, file: str | None = None, prefix: str = ""
) -> ConfigError:
    """The first finding as a ConfigError: field, what was given, what is allowed, the nearest name."""
    first = error.errors()[0]
    where = [str(part) for part in first["loc"] if not _is_tag(part)]
    field = prefix + ".".join(where)
    given = first.get("input")
    kind = first["type"]
    if kind == "extra_forbidden":
        known = _fields_at(model, where[:-1])
        return ConfigError(
            f"no such field{_of(prefix, where)}",
            file=file,
            field=field,
            allowed=", ".join(known) or None,
            nearest=nearest(where[-1], known),
        )
    if kind == "missing":
        return ConfigError("is missing", file=file, field=field)
    if kind == "literal_error":
        allowed = str(first["ctx"]["expected"]).replace("'", "").replace(" or ", ", ")
        return ConfigError(
            f"{_shown(given)} is not one of the choices",
            file=file,
            field=field,
            allowed=allowed,
            nearest=nearest(str(given), allowed.split(", ")),
        )
    if isinstance(given, str) and _NUMBER.fullmatch(given):
        return ConfigError(
            f"{given!r} is text, not a number (YAML reads 1e-3 as text: write 1.0e-3, without quotes)",
            file=file,
            field=field,
        )
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if kind == "value_error":
        return ConfigError(message, file=file, field=field or None)
    return ConfigError(f"{_shown(given)} is not allowed", file=file, field=field, allowed=message)


def _shown(given: Any) -> str:
    text = repr(given)
    return text if len(text) <= 60 else text[:57] + "..."


def _of(prefix: str, where: list[str]) -> str:
    parent = ".".join([*prefix.rstrip(".").split("."), *where[:-1]]).strip(".")
    return f" of {parent}" if parent else ""


def _is_tag(part: Any) -> bool:
    """Pydantic names the branch of a union in the path; files have no such level."""
    return isinstance(part, str) and ("[" in part or "(" in part)


def _fields_at(model: type[BaseModel], path: list[str]) -> list[str]:
    current: Any = model
    for part in path:
        if not (isinstance(current, type) and issubclass(current, BaseModel)):
            return []
        info = current.model_fields.get(part)
        current = None if info is None else _model_of(info.annotation)
    if not (isinstance(current, type) and issubclass(current, BaseModel)):
        return []
    return [info.alias or name for name, info in current.model_fields.items()]


def _model_of(annotation: Any) -> Any:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return next((a for a in typing.get_args(annotation) if a is not type(None)), None)
    return annotation
