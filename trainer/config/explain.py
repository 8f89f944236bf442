"""Turns pydantic's findings into the one line that a user reads."""

import itertools
import re
import types
import typing
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from trainer.errors import ConfigError, shown

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def explain(
    error: ValidationError, model: type[BaseModel], *, file: str | None = None, prefix: str = ""
) -> ConfigError:
    """The first finding as a ConfigError: field, what was given, what is allowed, the nearest name."""
    first = error.errors()[0]
    given, kind, loc = first.get("input"), first["type"], first["loc"]
    if kind == "extra_forbidden":  # the last part is the user's own, whatever it looks like
        path, found = _resolve(model, loc[:-1])
        name, parent = str(loc[-1]), (prefix + ".".join(path)).strip(".")
        known = [info.alias or key for key, info in found.model_fields.items()] if _is_model(found) else []
        problem = f"no such field of {parent}" if parent else "no such field"
        return ConfigError.unknown(problem, name, known, file=file, field=prefix + ".".join([*path, name]))
    where = {"file": file, "field": prefix + ".".join(_resolve(model, loc)[0]) or None}
    if kind == "missing":
        return ConfigError("is missing", **where)
    if kind == "literal_error":
        known = str(first["ctx"]["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
        return ConfigError.unknown(f"{shown(given)} is not one of the choices", given, known, **where)
    if isinstance(given, str) and _NUMBER.fullmatch(given):
        problem = f"{shown(given)} is text, not a number (YAML reads 1e-3 as text: write 1.0e-3, without quotes)"
        return ConfigError(problem, **where)
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if kind == "value_error":
        return ConfigError(message, **where)
    return ConfigError(f"{shown(given)} is not allowed", allowed=message, **where)


def _resolve(model: type[BaseModel], loc: Sequence[str | int]) -> tuple[list[str], Any]:
    """The path as files have it, and what it leads to: pydantic also names the branches of unions in it."""
    path: list[str] = []
    current: Any = model
    for part in loc:
        options = alternatives(current)
        branch = next((option for option in options if len(options) > 1 and _is_called(option, part)), None)
        if branch is not None:
            current = branch
        elif isinstance(part, int) or not ("[" in part or "(" in part):  # otherwise of a union of plain types
            path.append(str(part))
            current = _below(options[0], part)
    return path, alternatives(current)[0]


def alternatives(annotation: Any) -> list[Any]:
    """The types of a union but for None, or the one type of anything else; without what ``Annotated`` adds."""
    if typing.get_origin(annotation) is typing.Annotated:
        return alternatives(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        options = [option for option in typing.get_args(annotation) if option is not type(None)]
        return list(itertools.chain.from_iterable(map(alternatives, options)))
    return [annotation]


def _is_called(option: Any, tag: str | int) -> bool:
    """Whether pydantic calls this branch of a union so: a model by its ``type``, a plain type by its name."""
    info = option.model_fields.get("type") if _is_model(option) else None
    return tag in typing.get_args(info.annotation) if info else tag == getattr(option, "__name__", None)


def _below(annotation: Any, part: str | int) -> Any:
    if _is_model(annotation):
        info = annotation.model_fields.get(part)
        return None if info is None else info.annotation
    inside = {dict: 1, tuple: 0}.get(typing.get_origin(annotation))
    return None if inside is None else typing.get_args(annotation)[inside]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
