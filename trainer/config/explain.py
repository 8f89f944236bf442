"""Turns pydantic's findings into the one line that a user reads."""

import re
import types
import typing
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from pydantic import BaseModel, ValidationError

from trainer.errors import ConfigError, nearest, shown

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def explain(
    error: ValidationError, model: type[BaseModel], *, file: str | None = None, prefix: str = ""
) -> ConfigError:
    """The first finding as a ConfigError: field, what was given, what is allowed, the nearest name."""
    first = error.errors()[0]
    given = first.get("input")
    kind = first["type"]
    where = _in_file(model, first["loc"])
    if kind == "extra_forbidden":  # the name is the user's own, whatever it looks like
        where = [*_in_file(model, first["loc"][:-1]), str(first["loc"][-1])]
    field = prefix + ".".join(where)
    wrong = partial(ConfigError, file=file, field=field or None)
    if kind == "extra_forbidden":
        known = _fields_at(model, first["loc"][:-1])
        problem = f"no such field{_of(prefix, where)}"
        return wrong(problem, allowed=", ".join(known) or None, nearest=nearest(where[-1], known))
    if kind == "missing":
        return wrong("is missing")
    if kind == "literal_error":
        allowed = str(first["ctx"]["expected"]).replace("'", "").replace(" or ", ", ")
        problem = f"{shown(given)} is not one of the choices"
        return wrong(problem, allowed=allowed, nearest=nearest(given, allowed.split(", ")))
    if isinstance(given, str) and _NUMBER.fullmatch(given):
        return wrong(f"{shown(given)} is text, not a number (YAML reads 1e-3 as text: write 1.0e-3, without quotes)")
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if kind == "value_error":
        return wrong(message)
    return wrong(f"{shown(given)} is not allowed", allowed=message)


def _of(prefix: str, where: list[str]) -> str:
    parent = ".".join([*prefix.rstrip(".").split("."), *where[:-1]]).strip(".")
    return f" of {parent}" if parent else ""


def _in_file(model: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    """The path without the levels that files lack: pydantic names the branches of unions in it."""
    return [str(part) for part, (_, in_file) in zip(loc, _walk(model, loc), strict=True) if in_file]


def _fields_at(model: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    *_, last = [model, *(found for found, _ in _walk(model, loc))]
    return [info.alias or name for name, info in last.model_fields.items()] if _is_model(last) else []


def _walk(model: type[BaseModel], loc: Sequence[str | int]) -> Iterator[tuple[Any, bool]]:
    """For each part of a path: what it leads to, and whether files have that level."""
    current: Any = model
    for part in loc:
        branch = _branch(current, part)
        if branch is not None:
            current = branch
            yield current, False
        elif isinstance(part, str) and ("[" in part or "(" in part):  # of a union of plain types
            yield current, False
        else:
            current = _below(current, part)
            yield current, True


def _branch(annotation: Any, tag: str | int) -> Any:
    """The part of a union that pydantic calls so: a model by its ``type``, a plain type by its name."""
    union = _bare(annotation)
    if typing.get_origin(union) not in (typing.Union, types.UnionType):
        return None
    for option in typing.get_args(union):
        info = option.model_fields.get("type") if _is_model(option) else None
        if tag in typing.get_args(info.annotation) if info else tag == getattr(option, "__name__", None):
            return option
    return None


def _below(annotation: Any, part: str | int) -> Any:
    bare = _bare(annotation)
    if typing.get_origin(bare) in (typing.Union, types.UnionType):
        bare = next((a for a in typing.get_args(bare) if a is not type(None)), None)
    if _is_model(bare):
        info = bare.model_fields.get(part)
        return None if info is None else info.annotation
    inside = {dict: 1, tuple: 0}.get(typing.get_origin(bare))
    return None if inside is None else typing.get_args(bare)[inside]


def _bare(annotation: Any) -> Any:
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is typing.Annotated else annotation


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
