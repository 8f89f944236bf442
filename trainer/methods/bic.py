"""BiC: distillation, then the bias towards new classes is corrected by two numbers a task, found on images set aside.

Of every class a few images are never trained on, for good. When the network is trained, a factor and an offset on the
new classes' logits are learnt from those images of all classes seen; from then on they are part of the classifier, and
of the teacher. A class always keeps an image to train on, and what is set aside counts as exemplars.
"""

import math
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from trainer.losses.cross_entropy import cross_entropy
from trainer.methods.base import SharesWithDistillation, hyperparameter
from trainer.nets.correction import TaskAffine
from trainer.nets.network import Network, Outputs
from trainer.stages.optim import rescheduled
from trainer.stages.stage import Stage, Step, TaskContext, TaskImages, Terms, new_and_exemplars


class Bic(SharesWithDistillation):
    paper: ClassVar[str] = "Wu et al., Large Scale Incremental Learning, CVPR 2019"

    reserve: float = hyperparameter(
        0.1, "part of each class's places in memory that is set aside for the correction, rounded up", ge=0, lt=1
    )
    bias_epochs: float = hyperparameter(
        1.25, "epochs of the correction, as a part of those of a task (200 of 160)", first_task=1, gt=0, le=10
    )
    bias_lr: float = hyperparameter(
        1.0, "learning rate of the correction, as a part of a task's; constant", first_task=1, gt=0, le=10
    )
    offset_decay: float = hyperparameter(
        0.1, "weight of half the squared offset in the correction's loss", per_member=True, first_task=1, ge=0, le=100
    )

    # -- hooks ------------------------------------------------------------------------------------

    def parts(self, members: int, features: int) -> dict[str, nn.Module]:
        return {**super().parts(members, features), "correction": TaskAffine(members)}

    def outputs(self, network: Network, images: Tensor) -> Outputs:
        out: Outputs = network(images)
        correction = _correction(network)
        rows_MKD = None if out.weight_MKD is None else correction.rows(out.weight_MKD)
        return out._replace(logits_MBK=correction(out.logits_MBK), weight_MKD=rows_MKD)

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        train = Stage("train", task.optim, self.terms(task), pool=self._to_train_on, trains=("net.", "head."))
        if task.old == 0:
            return (train,)
        optim = rescheduled(task.optim, self.bias_epochs, lr=self.bias_lr * task.optim.lr, weight_decay=0.0)
        correct = Stage(
            "correct",
            optim,
            self.correction_loss,
            forward=lambda learner, images: self.outputs(learner.network, images),
            pool=self._set_aside,
            trains=("correction.",),
            evaluates=("net",),
        )
        return (train, correct)

    def correction_loss(self, step: Step) -> Terms:
        offset_M = _correction(step.network).offset_MT[:, -1]
        decay_M = step.task.hyperparameters["offset_decay"] * offset_M.square() / 2
        return {"ce": cross_entropy(step.logits_MBK, step.labels_MB), "offset": decay_M}

    def exemplar_candidates(self, images: TaskImages) -> Tensor:
        return images.new_N[~self._reserved_A(images)[images.new_N]]

    def exemplars_per_class(self, per_class: int) -> int:
        return per_class - self._places(per_class)

    # -- what is set aside ------------------------------------------------------------------------

    def _places(self, per_class: int) -> int:
        """Images set aside of a class with ``per_class`` places, one of which at least stays for training."""
        return max(0, min(math.ceil(round(self.reserve * per_class, 9)), per_class - 1))

    def _reserved_A(self, images: TaskImages) -> Tensor:
        """Which of all training images are set aside: the first of each class, but never its last one."""
        last_A = torch.bincount(images.labels_A)[images.labels_A] - 1
        return images.rank_A() < last_A.clamp_max(self._places(images.per_class))

    def _to_train_on(self, images: TaskImages) -> Tensor:
        return new_and_exemplars(replace(images, new_N=self.exemplar_candidates(images)))

    def _set_aside(self, images: TaskImages) -> Tensor:
        seen_A = images.labels_A <= images.labels_A[images.new_N].max()
        return (seen_A & self._reserved_A(images)).nonzero().squeeze(1).expand(len(images.exemplars_ME), -1)


def _correction(network: Network) -> TaskAffine:
    part = network.correction
    assert isinstance(part, TaskAffine)
    return part
