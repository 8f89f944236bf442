"""BiC: distillation, then the bias towards new classes is corrected by two numbers a task, found on images set aside.

Of every class a few images are never trained on, for good. When the network is trained, a factor and an offset on the
new classes' logits are learnt from those images of all classes seen; from then on they are part of the classifier, and
of the teacher. A class always keeps an image to train on, and what is set aside counts as exemplars.
"""

import math
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from trainer.losses.cross_entropy import cross_entropy
from trainer.methods.base import SharesWithDistillation, hyperparameter
from trainer.nets.correction import TaskAffine
from trainer.nets.network import Network, Outputs
from trainer.stages.optim import rescheduled
from trainer.stages.stage import Stage, Step, TaskContext, TaskImages, Terms, new_and_exemplars


class Bic(SharesWithDistillation):
    paper = "Wu et al., Large Scale Incremental Learning, CVPR 2019"
    differences = (
        "FACIL's code adds 1e-5, divided by the number of old classes, to the student's probabilities in the "
        "distillation; here nothing is added.",
    )

    reserve: float = hyperparameter(0.1, ge=0, lt=1)
    """part of each class's places in memory that is set aside for the correction, rounded up"""
    bias_epochs: float = hyperparameter(1.25, first_task=1, gt=0, le=10)
    """epochs of the correction, as a part of those of a task (200 of 160)"""
    bias_lr: float = hyperparameter(1.0, first_task=1, gt=0, le=10)
    """learning rate of the correction, as a part of a task's; constant"""
    offset_decay: float = hyperparameter(0.1, per_member=True, first_task=1, ge=0, le=100)
    """weight of half the squared offset in the correction's loss"""

    def parts(self, members: int, features: int) -> dict[str, nn.Module]:
        return {**super().parts(members, features), "correction": TaskAffine(members)}

    def outputs(self, network: Network, images: Tensor) -> Outputs:
        out: Outputs = network(images)
        correction = cast(TaskAffine, network.correction)
        rows_MKD = None if out.weight_MKD is None else correction.rows(out.weight_MKD)
        return out._replace(logits_MBK=correction(out.logits_MBK), weight_MKD=rows_MKD)

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        train = Stage("train", task.optim, self.task_loss(task), pool=self._to_train_on, trains=("net.", "head."))
        if task.old == 0:
            return (train,)
        optim = rescheduled(task.optim, self.bias_epochs, lr=self.bias_lr * task.optim.lr, weight_decay=0.0)
        correct = Stage(
            "correct",
            optim,
            self.correction_loss,
            forward=self.evaluate,
            pool=self._set_aside,
            trains=("correction.",),
            evaluates=("net",),
        )
        return (train, correct)

    def correction_loss(self, step: Step) -> Terms:
        offset_M = cast(TaskAffine, step.network.correction).offset_MT[:, -1]
        decay_M = step.task.hyperparameters["offset_decay"] * offset_M.square() / 2
        return {"ce": cross_entropy(step.logits_MBK, step.labels_MB), "offset": decay_M}

    def exemplar_candidates(self, images: TaskImages) -> Tensor:
        return images.new_N[~self._reserved_A(images)[images.new_N]]

    def exemplars_per_class(self, per_class: int) -> int:
        return per_class - self._places(per_class)

    def _places(self, per_class: int) -> int:
        """Images set aside of a class with ``per_class`` places, one of which at least stays for training."""
        return max(0, min(math.ceil(round(self.reserve * per_class, 9)), per_class - 1))

    def _reserved_A(self, images: TaskImages) -> Tensor:
        """Which of all training images are set aside: the first of each class, but never its last one."""
        labels_A = images.labels_A
        counts_C = torch.bincount(labels_A)
        starts_C = counts_C.cumsum(0) - counts_C
        rank_A = torch.arange(len(labels_A), device=labels_A.device) - starts_C[labels_A]
        return rank_A < (counts_C[labels_A] - 1).clamp_max(self._places(images.per_class))

    def _to_train_on(self, images: TaskImages) -> Tensor:
        return new_and_exemplars(replace(images, new_N=self.exemplar_candidates(images)))

    def _set_aside(self, images: TaskImages) -> Tensor:
        seen_A = images.labels_A <= images.labels_A[images.new_N].max()
        return (seen_A & self._reserved_A(images)).nonzero().squeeze(1).expand(len(images.exemplars_ME), -1)
