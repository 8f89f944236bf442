"""Nearest mean of exemplars (iCaRL): the classifier is the exemplars, the head only shapes the features."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.losses.binary_cross_entropy import sigmoid_cross_entropy
from trainer.methods.base import PYCIL_HEADS, Method, distillation_weight, hyperparameter
from trainer.nets.network import Outputs
from trainer.stages.learner import Learner
from trainer.stages.nearest_mean import keep_exemplar_means, mean_cosines
from trainer.stages.optim import rescheduled
from trainer.stages.stage import Plateau, Stage, Step, TaskContext, TaskImages, Terms, new_and_exemplars

_PATIENCE, _LOWEST_LR, _SET_ASIDE = 5, 1e-4, 0.1
"""of the plateau: epochs, rate, and part of each new class"""


class Icarl(Method):
    paper = "Rebuffi et al., iCaRL: Incremental Classifier and Representation Learning, CVPR 2017"
    needs_teacher = True
    differences = (
        "Long-Tailed CIL's code divides the learning rate after 5 epochs without a better validation loss, and ends "
        "the task once it is below 1e-4 (`plateau`); here it follows `optim`, as in all other methods, and all epochs "
        "are trained.",
        PYCIL_HEADS,
        "PyCIL's code distils a softmax at temperature 2; here, as in Long-Tailed CIL's code, sigmoids are distilled.",
    )

    lambda_: float = distillation_weight()
    """weight of the distillation, a sum over old classes"""
    classification: Literal["softmax", "sigmoid"] = hyperparameter("softmax")
    """what the labels teach: cross-entropy over all classes, or, as in the paper, each new class by itself"""

    plateau: bool = hyperparameter(False)
    """divide the learning rate by 1 / gamma after 5 epochs without a lower loss on a tenth of each new class, which is
    not trained on, and end the task below 1e-4, as Long-Tailed CIL's code does; false: follow optim"""

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        if not self.plateau:
            return super().plan(task)
        plateau = Plateau(lambda images: images.new_N[self._set_aside(images)], _PATIENCE, _LOWEST_LR)
        constant = rescheduled(task.optim, 1.0)
        return (Stage("train", constant, self.task_loss(task), pool=self._to_train_on, plateau=plateau),)

    def exemplar_candidates(self, images: TaskImages) -> Tensor:
        return images.new_N[~self._set_aside(images)] if self.plateau else images.new_N

    def _to_train_on(self, images: TaskImages) -> Tensor:
        return new_and_exemplars(replace(images, new_N=self.exemplar_candidates(images)))

    def _set_aside(self, images: TaskImages) -> Tensor:
        """Which of the new images are: the first tenth of each class, rounded."""
        counts_C = torch.bincount(images.labels_A)
        starts_C = counts_C.cumsum(0) - counts_C
        labels_N = images.labels_A[images.new_N]
        return images.new_N - starts_C[labels_N] < (counts_C[labels_N] * _SET_ASIDE).round()

    def loss(self, step: Step) -> Terms:
        m, logits_MBK = step.task.old, step.logits_MBK
        if self.classification == "softmax":
            terms = super().loss(step)
        else:
            target_MBK = F.one_hot(step.labels_MB, step.task.seen).to(logits_MBK)
            terms = {"bce": sigmoid_cross_entropy(logits_MBK[..., m:], target_MBK[..., m:])}
        if step.teacher_MBK is not None:
            distilled_M = sigmoid_cross_entropy(logits_MBK[..., :m], step.teacher_MBK.sigmoid())
            terms["kd"] = step.task.hyperparameters["lambda"] * distilled_M
        return terms

    def after_task(self, learner: Learner, images: TaskImages) -> None:
        keep_exemplar_means(learner, images)

    def classify(self, out: Outputs, method_state: Mapping[str, Tensor]) -> Tensor:
        """Cosine to each mean. Without a memory there are no means: the head decides."""
        if "means_MKD" not in method_state:
            return out.logits_MBK
        return mean_cosines(out.features_MBD, method_state["means_MKD"])

    def probabilities(self, scores_MNK: Tensor, method_state: Mapping[str, Tensor]) -> Tensor | None:
        """None of cosines to means; without these, what the head was taught."""
        if "means_MKD" in method_state:
            return None
        sigmoids = self.classification == "sigmoid"
        return scores_MNK.sigmoid() if sigmoids else super().probabilities(scores_MNK, method_state)

    def auxiliary_scores(self, out: Outputs, method_state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"logits": out.logits_MBK}
