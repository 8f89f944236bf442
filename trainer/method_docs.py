"""The page docs/methods.md, from the methods' own files: ``python -m trainer.method_docs > docs/methods.md``."""

from __future__ import annotations

import inspect
import sys
import types
import typing
from typing import Any, Literal

from pydantic.fields import FieldInfo

from trainer.config.run_config import Stage2
from trainer.methods.base import Method, find, names

_HEAD = """# Methods

Written by `python -m trainer.method_docs`; do not edit. Each method is one file of `trainer/methods/`, and what is
said of it here stands there.

Every field below is a field of a run file (`method.FIELD`) and a dimension of a search. *Together*: runs that differ in
the field alone can be trained side by side in one pass. *From task*: the first task, from 0, that the field can change;
runs that differ only in later ones share the training of the first.

| method | published | asks the last network |
|---|---|---|
"""

_STAGE2 = """## stage2

A second stage that any method can be given, after its own in every task: `stage2: {{}}` in a run file takes these
defaults, `stage2: null` leaves it out. {about}

{fields}"""


def page() -> str:
    """The text of docs/methods.md."""
    methods = {name: find(name) for name in names()}
    listed = "".join(
        f"| [{name}](#{name}) | {_cell(method.paper)} | {'yes' if method.needs_teacher else 'no'} |\n"
        for name, method in methods.items()
    )
    sections = [_section(name, method) for name, method in methods.items()]
    stage2 = _STAGE2.format(about=inspect.getdoc(Stage2) or "", fields=_table(Stage2.model_fields, declared=False))
    return "\n".join([_HEAD + listed, *sections, stage2])


def _section(name: str, method: type[Method]) -> str:
    about = inspect.cleandoc(sys.modules[method.__module__].__doc__ or "")
    fields = _table(method.model_fields, declared=True) if method.model_fields else "No fields of its own.\n"
    return f"## {name}\n\n{about}\n\n{fields}"


def _table(fields: dict[str, FieldInfo], *, declared: bool) -> str:
    head = ["field", "default", "allowed", *(["together", "from task"] if declared else []), "meaning"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for key, info in fields.items():
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        own = [f"`{info.alias or key}`", f"`{_value(info.default)}`", _allowed(info)]
        if declared:
            own += ["yes" if extra.get("per_member") else "no", str(extra.get("first_task", 0))]
        lines.append(f"| {' | '.join([*own, _cell(info.description or '')])} |")
    return "\n".join(lines) + "\n"


def _allowed(info: FieldInfo) -> str:
    """Choices, or the kind of number and its range."""
    annotation, nullable = _inner(info.annotation)
    or_null = " or null" if nullable else ""
    if typing.get_origin(annotation) is Literal:
        return ", ".join(f"`{_value(choice)}`" for choice in typing.get_args(annotation)) + or_null
    if annotation is bool:
        return "`true`, `false`" + or_null
    kind = getattr(annotation, "__name__", str(annotation))
    if typing.get_origin(annotation) is tuple:
        kind = f"list of {typing.get_args(annotation)[0].__name__}"
    bounds = {
        name: getattr(one, name) for one in info.metadata for name in ("ge", "gt", "le", "lt") if hasattr(one, name)
    }
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    return " ".join([kind, *(f"{signs[name]} {bound:g}" for name, bound in bounds.items())]) + or_null


def _inner(annotation: Any) -> tuple[Any, bool]:
    """``T`` of ``T | None``, and whether None is allowed."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        kinds = [a for a in typing.get_args(annotation) if a is not type(None)]
        return kinds[0], len(kinds) < len(typing.get_args(annotation))
    return annotation, False


def _value(value: Any) -> str:
    """As a run file writes it."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "/")


if __name__ == "__main__":
    print(page(), end="")
