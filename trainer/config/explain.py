"""Turns pydantic's findings into the lines that a user reads."""

import itertools
import re
import types
import typing
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from trainer.errors import ConfigError, shown
from trainer.words import format_count

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")

_ALLOWED = {
    "bool_type": "true or false",
    "dict_type": "fields by name",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a number of fewer digits",
    "int_type": "a whole number",
    "invalid_key": "names",
    "list_type": "a list",
    "model_attributes_type": "fields by name",
    "model_type": "fields by name",
    "recursion_loop": "a value that does not hold itself",
    "string_type": "text",
    "tuple_type": "a list",
}
"""in our words, by pydantic's name of the finding"""


def explain(
    error: ValidationError, model: type[BaseModel], *, file: str | None = None, prefix: str = "", name: str = ""
) -> ConfigError:
    """All findings as one ConfigError, each with field, what was given, what is allowed, the nearest name.

    ``prefix``: what is in front of the model's fields; ``name``: what the model is called.
    """
    by_path: dict[tuple[str, ...], list[ErrorDetails]] = {}
    for finding in error.errors():
        by_path.setdefault(tuple(_where(finding, model)), []).append(finding)
    found = [
        _explained(path, findings, model, file, prefix, name)
        for path, findings in by_path.items()
        # Of a value that no branch of a union takes, the branch that goes into it says more.
        if not any(len(other) > len(path) and other[: len(path)] == path for other in by_path)
    ]
    return ConfigError.together(found)


def _where(finding: ErrorDetails, model: type[BaseModel]) -> list[str]:
    """The path to a finding as files have it."""
    loc = finding["loc"]
    if finding["type"] == "extra_forbidden":  # the last part is the user's own, whatever it looks like
        return [*_resolve(model, loc[:-1])[0], str(loc[-1])]
    path = _resolve(model, loc)[0]
    return [*path, "type"] if finding["type"].startswith("union_tag") else path


def _explained(
    path: Sequence[str],
    findings: Sequence[ErrorDetails],
    model: type[BaseModel],
    file: str | None,
    prefix: str,
    name: str,
) -> ConfigError:
    """The findings about one field: several are branches of a union, of which the value may be any."""
    first = findings[0]
    given, kind, context = first.get("input"), first["type"], first.get("ctx", {})
    where: dict[str, Any] = {"file": file, "field": prefix + ".".join(path) or None}
    match kind:
        case "config_error":
            error: ConfigError = context["error"]
            found = error.in_file(file)
        case "extra_forbidden":
            inside = (prefix + ".".join(path[:-1])).strip(".")
            parent = inside if path[1:] else name or inside
            owner = _resolve(model, first["loc"][:-1])[1]
            known = [info.alias or key for key, info in owner.model_fields.items()] if _is_model(owner) else []
            problem = f"no such field of {parent}" if parent else "no such field"
            found = ConfigError.unknown(problem, path[-1], known, **where)
        case "missing":
            found = ConfigError("is missing", **where)
        case "literal_error":
            found = _not_a_choice(given, context["expected"], where)
        case "union_tag_invalid":
            found = _not_a_choice(context["tag"], context["expected_tags"], where)
        case "union_tag_not_found":
            found = ConfigError("is missing", allowed=_tags(model, first["loc"]), **where)
        case "value_error":
            found = ConfigError(first["msg"].removeprefix("Value error, "), **where)
        case _ if isinstance(given, str) and _NUMBER.fullmatch(given):
            problem = f"{shown(given)} is text, not a number (YAML reads 1e-3 as text: write 1.0e-3, without quotes)"
            found = ConfigError(problem, **where)
        case "model_type" | "model_attributes_type" if isinstance(given, str) and _is_named(model, first["loc"]):
            found = ConfigError(f"{shown(given)} is not allowed; write {{name: {shown(given)[1:-1]}}}", **where)
        case _:
            allowed = " or ".join(dict.fromkeys(map(_allowed, findings)))
            found = ConfigError(f"{shown(given)} is not allowed", allowed=allowed, **where)
    return found


def _not_a_choice(given: object, expected: str, where: dict[str, Any]) -> ConfigError:
    known = expected.replace("'", "").replace(" or ", ", ").split(", ")
    return ConfigError.unknown(f"{shown(given)} is not one of the choices", given, known, **where)


def _is_named(model: type[BaseModel], loc: Sequence[str | int]) -> bool:
    """Whether a section has a name among its fields, as methods and networks do."""
    section = _resolve(model, loc)[1]
    return _is_model(section) and (hasattr(section, "name") or "name" in section.model_fields)


def _allowed(finding: ErrorDetails) -> str:
    if finding["type"] == "too_short":
        least = finding["ctx"]["min_length"]
        return f"at least {format_count(least, 'value')}"
    return _ALLOWED.get(finding["type"], finding["msg"].removeprefix("Input should be "))


def _tags(model: type[BaseModel], loc: Sequence[str | int]) -> str:
    """The choices for the ``type`` of a union of models."""
    _, found = _resolve(model, loc, whole=True)
    kinds = [typing.get_args(option.model_fields["type"].annotation) for option in alternatives(found)]
    return ", ".join(itertools.chain.from_iterable(kinds))


def _resolve(model: type[BaseModel], loc: Sequence[str | int], *, whole: bool = False) -> tuple[list[str], Any]:
    """The path as files have it, and what it leads to: pydantic also names the branches of unions in it.

    ``whole``: a union itself, not its first branch.
    """
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
    return path, current if whole else alternatives(current)[0]


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
