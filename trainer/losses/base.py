"""What a classification loss is, for the field ``loss`` of a method.

A loss that a run file can choose is one file of this folder that defines one subclass of ClassificationLoss. Nothing
registers it: the field takes the file's name. The other files hold losses that are part of a method's own idea.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Self

import torch
from torch import Tensor

from trainer.registry import OneOf, Registry


class ClassificationLoss(ABC):
    """A loss of logits and labels, with whatever of it stays the same over a task.

    Its parameters are class attributes with the published values. A method of the same name makes them
    hyperparameters, with the head and the schedule of its paper.
    """

    @classmethod
    def prepare(cls, kept_K: Tensor, members: int, dtype: torch.dtype) -> Self:
        """The loss of one task, for M members.

        ``kept_K``: images of each class at hand, old classes by their exemplars, float64; ``dtype``: of the logits.
        """
        return cls()

    @abstractmethod
    def __call__(self, logits_MBK: Tensor, labels_MB: Tensor) -> Tensor:
        """Reduced over images and classes, per member ``[M]``."""


@dataclass(frozen=True)
class RunningLoss(ClassificationLoss):
    """A loss that follows the steps by a number a member and class, which lives in a buffer of the stage."""

    continues: ClassVar[bool] = False
    """whether old classes begin a task with what they had at the end of the last one"""

    kept_MK: Tensor
    """what the task begins with, or the buffer; ``update`` changes it in place"""

    def keeping(self, kept_MK: Tensor) -> Self:
        """The same loss with this buffer."""
        return replace(self, kept_MK=kept_MK)

    @abstractmethod
    def update(self, logits_MBK: Tensor, labels_MB: Tensor) -> None:
        """Take in a step. Its logits carry no gradient."""


LOSSES = Registry("trainer.losses", ClassificationLoss, kind="loss", field="method.loss")  # type: ignore[type-abstract]

LossName = Annotated[str, OneOf(LOSSES.names)]
"""what a field ``loss`` takes"""
