"""What a classification loss is, for the field ``loss`` of a method.

A loss that a run file can choose is one file of this folder that defines one subclass of ClassificationLoss. Nothing
registers it: the field takes the file's name. The other files hold losses that are part of a method's own idea.
"""

from abc import ABC, abstractmethod
from typing import Annotated, Self

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


LOSSES = Registry("trainer.losses", ClassificationLoss, kind="loss", field="method.loss")  # type: ignore[type-abstract]

LossName = Annotated[str, OneOf(LOSSES.names)]
"""what a field ``loss`` takes"""
