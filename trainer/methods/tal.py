"""Temporal-adjusted loss (TAL): classes that were not shown for long are pushed down less, and old ones are distilled.

The loss stands in for cross-entropy in the method that its paper calls iCaRL: a softmax with distillation, and the
nearest mean of exemplars as classifier. Scores go on from task to task. Its other released host is `der` with `loss:
tal`, `aux: 0` and `finish: none`; any method with a field `loss` takes it.

The published runs have balanced data, 100 epochs a task and a batch of 128. With long tails scores settle near K times
the class frequencies, so that the loss also weighs frequent against rare classes. All scores start at 0, and hardly any
class is pushed down in the first hundred steps, which may be all that a small task has: see `start` and `memory`.
"""

from collections.abc import Callable, Mapping
from typing import Literal

from torch import Tensor

from trainer.distill.base import DistillationName, prepare
from trainer.losses.tal import Decay
from trainer.losses.tal import Tal as TemporalAdjustedLoss
from trainer.methods.base import (
    Method,
    distillation_temperature,
    distillation_weight,
    followed,
    hyperparameter,
    stepped,
)
from trainer.nets.network import Outputs
from trainer.stages.learner import Learner
from trainer.stages.nearest_mean import keep_exemplar_means, mean_cosines, nearest_mean_scores
from trainer.stages.stage import Step, TaskContext, TaskImages, Terms


class Tal(Method):
    paper = "Ma & Zhu, temporal-adjusted loss, CVPR 2026 (arXiv 2603.02280), on the host that it calls iCaRL"
    needs_teacher = True
    differences = (
        "The paper's text lets a score fall by its whole weight; the released code, and here the default, by its part "
        "among the other classes (`decay`).",
        "The released code reports the nearest mean of exemplars alone; here the accuracy of the logits is stored too.",
        "The released loss has the defaults 0.99 and 3, which none of its configurations uses; here they are those of "
        "its CIFAR-100 configuration.",
    )

    lambda_: float = distillation_weight()
    """weight of the distillation"""
    temperature: float = distillation_temperature()
    kd: DistillationName = hyperparameter("kd", first_task=1)
    """the distillation"""
    memory: float = hyperparameter(0.995, per_member=True, gt=0, lt=1)
    """part of a class's score that is left after a step (lambda of the paper)"""
    steepness: float = hyperparameter(1.0, per_member=True, ge=0.05, le=10)
    """power of a score in the weight of a class as a wrong answer (r)"""
    decay: Decay = hyperparameter("normalized")
    """what a class's score loses where it is not the label: its weight over the number of other classes, or its
    weight"""
    aligned: bool = hyperparameter(True)
    """weights are scaled to 1 where all classes are equally frequent"""
    start: Literal["zero", "steady"] = hyperparameter("zero")
    """the score of a new class: 0, or where it would rest if all classes were equally frequent (not in the paper)"""
    classifier: Literal["nearest_mean", "logits"] = hyperparameter("nearest_mean")
    """what classifies; the accuracy of the other one is stored too"""

    def task_loss(self, task: TaskContext) -> Callable[[Step], Terms]:
        hyperparameters = task.hyperparameters
        loss = TemporalAdjustedLoss.of(
            task.seen,
            hyperparameters["memory"],
            hyperparameters["steepness"],
            task.dtype,
            self.decay,
            align=self.aligned,
            at_rest=self.start == "steady",
        )
        in_step, distillation = followed(loss, self.name, task), prepare(self.kd, task.old_classes())

        def terms(step: Step) -> Terms:
            found = {"tal": stepped(in_step(step), step)}
            if distillation is not None:
                found["kd"] = hyperparameters["lambda"] * distillation.loss(step.pair())
            return found

        return terms

    def after_task(self, learner: Learner, images: TaskImages) -> None:
        keep_exemplar_means(learner, images)

    def classify(self, out: Outputs, method_state: Mapping[str, Tensor]) -> Tensor:
        """By the nearest mean if there are exemplars, and ``classifier`` says so."""
        means_MKD = method_state.get("means_MKD")
        if means_MKD is None or self.classifier == "logits":
            return out.logits_MBK
        return mean_cosines(out.features_MBD, means_MKD)

    def probabilities(self, scores_MNK: Tensor, method_state: Mapping[str, Tensor]) -> Tensor | None:
        """None of cosines to means."""
        by_means = self.classifier == "nearest_mean" and "means_MKD" in method_state
        return None if by_means else super().probabilities(scores_MNK, method_state)

    def auxiliary_scores(self, out: Outputs, method_state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if self.classifier == "nearest_mean":
            return {"logits": out.logits_MBK}
        return nearest_mean_scores(out, method_state)
