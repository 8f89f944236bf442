"""Nearest mean of exemplars (iCaRL): the classifier is the exemplars, the head only shapes the features."""

from collections.abc import Mapping
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from trainer.losses.binary_cross_entropy import sigmoid_cross_entropy
from trainer.methods.base import Method, distillation_weight, hyperparameter
from trainer.nets.network import Outputs
from trainer.stages.learner import Learner
from trainer.stages.nearest_mean import exemplar_means, mean_cosines
from trainer.stages.stage import Step, TaskImages, Terms


class Icarl(Method):
    paper = "Rebuffi et al., iCaRL: Incremental Classifier and Representation Learning, CVPR 2017"
    needs_teacher = True
    differences = (
        "Long-Tailed CIL's code divides the learning rate after 5 epochs without a better validation loss, and ends "
        "the task once it is below 1e-4; here it follows `optim`, and all epochs are trained.",
        "PyCIL's code distils a softmax at temperature 2; here, as in Long-Tailed CIL's code, sigmoids are distilled.",
    )

    lambda_: float = distillation_weight()
    """weight of the distillation, a sum over old classes"""
    classification: Literal["softmax", "sigmoid"] = hyperparameter("softmax")
    """what the labels teach: cross-entropy over all classes, or, as in the paper, each new class by itself"""

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
        means_MKD = exemplar_means(images, learner.network.classifier.classes)
        if means_MKD is not None:
            learner.method_state["means_MKD"] = means_MKD

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
