"""What a method is: hyperparameters as typed fields, and hooks.

A method is one file of this folder that defines one subclass of Method. Nothing registers it and
nothing else names it: a run file's ``method.name`` is the file's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from trainer.nets.heads import LinearHead
from trainer.nets.network import Network, Outputs
from trainer.registry import Registry
from trainer.stages.learner import Learner
from trainer.stages.stage import Stage, Step, TaskContext, TaskImages, Terms


def hyperparameter(
    default: Any,
    doc: str,
    *,
    per_member: bool = False,
    first_task: int = 0,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    alias: str | None = None,
) -> Any:
    """A hyperparameter of a method.

    ``per_member``: members of one pass may differ in it; hooks then read it from ``TaskContext.hyperparameters`` as
    ``[M]``. ``first_task``: the first task (0-based) that it can change. Runs that differ only in fields that act later
    share the training of the first task.
    """
    extra: dict[str, Any] = {"per_member": per_member, "first_task": first_task}
    return Field(default, description=doc, ge=ge, gt=gt, le=le, lt=lt, alias=alias, json_schema_extra=extra)


class Method(BaseModel):
    """Base of every method: a linear head, one stage over new images and exemplars, argmax of the logits; no loss.

    All hooks are optional; those that a method overrides are what it is.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True, allow_inf_nan=False)

    paper: ClassVar[str] = ""
    """where the method was published"""
    needs_teacher: ClassVar[bool] = False
    """whether the network as it stood after the last task is kept and asked in every step"""
    last_relu: ClassVar[bool] = True
    """whether features are what is left after the network's last ReLU"""

    @property
    def name(self) -> str:
        """The name of the file that defines the method."""
        return type(self).__module__.rpartition(".")[2]

    # -- hooks: the network -------------------------------------------------------------------------

    def parts(self, members: int, features: int) -> dict[str, nn.Module]:
        """What stands behind the backbone, by name; ``head`` is the classifier. Called for every network made."""
        return {"head": LinearHead(members, features)}

    def outputs(self, network: Network, images: Tensor) -> Outputs:
        """Features and logits of ``images [B, M*C, H, W]``, of a student or a teacher."""
        return cast(Outputs, network(images))

    # -- hooks: training ----------------------------------------------------------------------------

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        """The stages of one task, in order."""
        return (Stage("train", task.optim, self.loss, self.adjust_grads),)

    def loss(self, step: Step) -> Terms:
        """The named losses of a step, each ``[M]``: reduced over batch and class, never over members."""
        raise TypeError(f"method {self.name} defines no loss")

    def adjust_grads(self, step: Step) -> None:
        """Change ``.grad`` of the head after the backward pass."""

    def after_stage(self, stage: Stage, learner: Learner, images: TaskImages) -> None:
        """Called when a stage has been trained. What later tasks need goes into ``learner.method_state``."""

    # -- hooks: memory ------------------------------------------------------------------------------

    def exemplar_candidates(self, images: TaskImages) -> Tensor:
        """Which of the new images may become exemplars, ``[n]``."""
        return images.new_N

    def exemplars_per_class(self, per_class: int) -> int:
        """How many exemplars a class has, of the ``per_class`` images of it that may be kept."""
        return per_class

    def after_task(self, learner: Learner, images: TaskImages) -> None:
        """Called when exemplars are chosen, before the accuracies are measured."""

    # -- hooks: inference ---------------------------------------------------------------------------

    def evaluate(self, learner: Learner, images: Tensor) -> Outputs:
        """Like ``outputs``, of the student, with whatever ``classify`` and ``auxiliary_scores`` need."""
        return self.outputs(learner.network, images)

    def classify(self, out: Outputs, method_state: Mapping[str, Tensor]) -> Tensor:
        """Scores ``[M, N, K]`` whose largest is the predicted class."""
        return out.logits_MBK

    def auxiliary_scores(self, out: Outputs, method_state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Scores of other classifiers that come with the method, by name; their accuracies are reported too."""
        return {}

    # -- what the fields declare ------------------------------------------------------------------

    @classmethod
    def per_member_fields(cls) -> frozenset[str]:
        """Names, as in files, of the fields that members of one pass may differ in."""
        return frozenset(name for name, extra in cls._declared().items() if extra["per_member"])

    @classmethod
    def fields_from_task(cls, task: int) -> frozenset[str]:
        """Names, as in files, of the fields that change nothing before ``task``."""
        return frozenset(name for name, extra in cls._declared().items() if extra["first_task"] >= task)

    @classmethod
    def _declared(cls) -> dict[str, dict[str, Any]]:
        plain = {"per_member": False, "first_task": 0}
        return {
            info.alias or name: info.json_schema_extra if isinstance(info.json_schema_extra, dict) else plain
            for name, info in cls.model_fields.items()
        }


METHODS = Registry("trainer.methods", Method, kind="method", field="method.name")
