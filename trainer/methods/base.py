"""What a method is: hyper-parameters as typed fields, and at most six hooks.

A method is one file of this folder that defines one subclass of Method. Nothing registers it and
nothing else names it: a run file's ``method.name`` is the file's name.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

import trainer.methods
from trainer.errors import ConfigError, nearest
from trainer.stages import Stage, Step, TaskContext, Terms

if TYPE_CHECKING:
    from trainer.state import State


def hyper(
    default: Any,
    doc: str,
    *,
    fusable: bool = False,
    acts_from: int = 0,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    alias: str | None = None,
) -> Any:
    """A hyper-parameter of a method.

    ``fusable``: members of one pass may differ in it; hooks then read it from ``TaskContext.hyper`` as ``[M]``.
    ``acts_from``: the first task (0-based) that it can change. Runs that differ only in fields that act
    later share the training of the earlier task.
    """
    extra: dict[str, Any] = {"fusable": fusable, "acts_from": acts_from}
    return Field(default, description=doc, ge=ge, gt=gt, le=le, lt=lt, alias=alias, json_schema_extra=extra)


class Method(BaseModel):
    """Base of every method: plain finetuning's plan and classifier, and no loss."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True, allow_inf_nan=False)

    paper: ClassVar[str] = ""
    """where the method was published"""
    needs_teacher: ClassVar[bool] = False
    """whether the network as it stood after the last task is kept and asked in every step"""

    @property
    def name(self) -> str:
        """The name of the file that defines the method."""
        return type(self).__module__.rpartition(".")[2]

    # -- hooks ------------------------------------------------------------------------------------

    def plan(self, task: TaskContext, carried: dict[str, Tensor]) -> tuple[Stage, ...]:
        """The stages of one task, in order. ``carried``: the buffers that the last task's stage ended with."""
        return (Stage("train", task.optim, self.loss, self.adjust_grads),)

    def loss(self, step: Step) -> Terms:
        """The named losses of a step, each ``[M]``: reduced over batch and class, never over members."""
        raise TypeError(f"method {self.name} defines no loss")

    def adjust_grads(self, step: Step) -> None:
        """Change ``.grad`` of the head after the backward pass."""

    def after_stage(self, stage: Stage, state: State, task: TaskContext) -> None:
        """Called when a stage has been trained."""

    def after_task(self, state: State, task: TaskContext) -> None:
        """Called when exemplars are chosen, before the accuracies are measured."""

    def classify(self, logits_MNK: Tensor, features_MND: Tensor, state: State) -> Tensor:
        """Scores ``[M, N, K]`` whose largest is the predicted class."""
        return logits_MNK

    # -- what the fields declare ------------------------------------------------------------------

    @classmethod
    def fusable_fields(cls) -> frozenset[str]:
        """Names, as in files, of the fields that members of one pass may differ in."""
        return frozenset(name for name, extra in cls._declared().items() if extra["fusable"])

    @classmethod
    def fields_from_task(cls, task: int) -> frozenset[str]:
        """Names, as in files, of the fields that change nothing before ``task``."""
        return frozenset(name for name, extra in cls._declared().items() if extra["acts_from"] >= task)

    @classmethod
    def _declared(cls) -> dict[str, dict[str, Any]]:
        plain = {"fusable": False, "acts_from": 0}
        return {
            info.alias or name: info.json_schema_extra if isinstance(info.json_schema_extra, dict) else plain
            for name, info in cls.model_fields.items()
        }


def names() -> list[str]:
    """The names of all methods, sorted."""
    return sorted(m.name for m in pkgutil.iter_modules(trainer.methods.__path__) if m.name != "base")


def find(name: object) -> type[Method]:
    """The method of that name. Raises ConfigError, with the nearest name, if there is none."""
    known = names()
    if not isinstance(name, str) or name not in known:
        raise ConfigError(
            f"no such method: {name!r}",
            field="method.name",
            allowed=", ".join(known),
            nearest=nearest(str(name), known),
        )
    module = importlib.import_module(f"trainer.methods.{name}")
    own = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Method) and value.__module__ == module.__name__
    ]
    if len(own) != 1:
        raise ConfigError(f"trainer/methods/{name}.py must define one subclass of Method, not {len(own)}")
    return own[0]
