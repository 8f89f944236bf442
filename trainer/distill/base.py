"""What a distillation is: a loss that keeps a student near its teacher on the classes that the teacher knows.

A distillation is one file of this folder that defines one subclass of KnowledgeDistillation. Nothing registers it: a
field ``kd`` of a method takes the file's name, or ``none``.

Conventions of all of them. Student and teacher are compared on the teacher's m old classes, by raw logits: no prior, no
bias correction, no new class. All images of a batch count, old and new. Values are means over the batch and in units of
T^2: a caller multiplies by the temperature squared for the published scale, or leaves it. Terms of a divergence are
cross-entropies: the teacher's entropy, which has no gradient, is part of the value.
"""

from abc import ABC, abstractmethod
from typing import Annotated, Literal, NamedTuple, Self

from torch import Tensor

from trainer.registry import OneOf, Registry

NONE = "none"
"""the choice of no distillation"""


class Pair(NamedTuple):
    """What a student and its teacher make of the same batch."""

    logits_MBm: Tensor
    teacher_MBm: Tensor
    temperature_M: Tensor
    labels_MB: Tensor
    """of all classes: m and above are new ones"""
    features_MBD: Tensor
    teacher_features_MBD: Tensor
    weight_MmD: Tensor | None = None
    """the student's rows of the old classes; None where its logits are not linear in its features"""
    teacher_weight_MmD: Tensor | None = None


class OldClasses(NamedTuple):
    """What is known of the m old classes before a task begins, and how the data that they lost is measured."""

    counts_m: Tensor
    """training images when each class was learnt, float64"""
    kept_m: Tensor
    """exemplars of it now, float64"""
    lost_norm: Literal["l2", "max"] = "l2"
    """norm of the classes' shares of the lost data"""
    entropy_smoothing: float = 0.001
    """images added to each class's loss inside the entropy of the lost data"""


class HeadGrad(NamedTuple):
    """Gradients in rows and biases of a linear head."""

    weight_MmD: Tensor
    bias_Mm: Tensor

    @classmethod
    def of(cls, grad_MBm: Tensor, features_MBD: Tensor) -> Self:
        """By the chain rule, from the gradient in the logits."""
        return cls(grad_MBm.transpose(1, 2) @ features_MBD.detach(), grad_MBm.sum(1))


class KnowledgeDistillation(ABC):
    """One distillation, with whatever of it stays the same over a task."""

    @classmethod
    def prepare(cls, old: OldClasses) -> Self:
        """Of one task, whose m >= 1 old classes are these."""
        return cls()

    @abstractmethod
    def loss(self, pair: Pair) -> Tensor:
        """Per member ``[M]``, in units of T^2."""

    @abstractmethod
    def grad(self, pair: Pair) -> Tensor:
        """Gradient of ``loss`` in the student's logits alone, ``[M, B, m]``, in closed form."""

    def at_head(self, pair: Pair) -> HeadGrad:
        """Gradient of ``loss`` in the old classes' rows and biases of the student's linear head, in closed form."""
        return HeadGrad.of(self.grad(pair), pair.features_MBD)


DISTILLATIONS = Registry("trainer.distill", KnowledgeDistillation, kind="distillation", field="method.kd")  # type: ignore[type-abstract]

DistillationName = Annotated[str, OneOf(lambda: [NONE, *DISTILLATIONS.names()])]
"""what a field ``kd`` takes"""


def prepare(name: str, old: OldClasses) -> KnowledgeDistillation | None:
    """The distillation of that name for one task; None for ``none``, and where there are no old classes."""
    return None if name == NONE or len(old.counts_m) == 0 else DISTILLATIONS.find(name).prepare(old)
