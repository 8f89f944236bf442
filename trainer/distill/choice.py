"""Distillations by name: the files of this folder that define one."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import TYPE_CHECKING, Literal

import trainer.distill
from trainer.distill.base import KnowledgeDistillation, OldClasses

NONE = "none"
"""the choice of no distillation"""


def names() -> list[str]:
    """The names of all distillations, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(trainer.distill.__path__) if _defined_in(module.name))


def find(name: str) -> type[KnowledgeDistillation]:
    """The distillation of that name. Raises KeyError if there is none."""
    if name not in names():
        raise KeyError(f"no such distillation: {name!r}; there are {', '.join(names())}")
    (own,) = _defined_in(name)
    return own


def prepare(name: str, old: OldClasses) -> KnowledgeDistillation | None:
    """The distillation of that name for one task; None for ``none``, and where there are no old classes."""
    return None if name == NONE or len(old.counts_m) == 0 else find(name).prepare(old)


def _defined_in(name: str) -> list[type[KnowledgeDistillation]]:
    module = importlib.import_module(f"trainer.distill.{name}")
    here = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
    return [
        c for c in here if isinstance(c, type) and issubclass(c, KnowledgeDistillation) and not inspect.isabstract(c)
    ]


if TYPE_CHECKING:
    Choice = str
else:
    Choice = Literal[(NONE, *names())]
"""What a field ``kd`` takes. A type, so that every reader of fields knows the choices: checks, tables, editors."""
