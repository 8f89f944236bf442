"""Class-balanced loss: focal or cross-entropy, weighted by the effective number of each class's images.

Weights act from the first epoch and losses are divided by the number of images. Sigmoids start at the probability 1/K,
and their biases do not decay. The paper's numbers are each the best of a grid over the form, beta and gamma; the
defaults are one point of it.
"""

from collections.abc import Callable, Mapping
from typing import Literal

from torch import Tensor, nn

from trainer.losses.class_balanced import ClassBalanced as WeightedCrossEntropy
from trainer.losses.class_weights import effective_number_weights
from trainer.losses.sigmoid_focal import sigmoid_focal
from trainer.methods.base import Method, effective_number_beta, hyperparameter
from trainer.nets.heads import LinearHead, rare_bias
from trainer.stages.stage import Stage, Step, TaskContext, Terms


class ClassBalanced(Method):
    paper = "Cui et al., Class-Balanced Loss Based on Effective Number of Samples, CVPR 2019"

    form: Literal["sigmoid_focal", "softmax"] = hyperparameter("sigmoid_focal")
    """focal loss on sigmoids, or cross-entropy"""
    cb_beta: float = effective_number_beta(0.99)
    gamma: float = hyperparameter(1.0, per_member=True, ge=0, le=10)
    """sigmoid_focal: how fast an entry counts less; 0: binary cross-entropy"""

    def parts(self, members: int, features: int) -> dict[str, nn.Module]:
        return {"head": LinearHead(members, features, bias_init=rare_bias if self._sigmoids else None)}

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        no_decay = ("head.bias_MK",) if self._sigmoids else ()
        return (Stage("train", task.optim, self.task_loss(task), no_decay=no_decay),)

    def task_loss(self, task: TaskContext) -> Callable[[Step], Terms]:
        weights_MK = effective_number_weights(task.kept_K, task.hyperparameters["cb_beta"]).to(task.dtype)
        if not self._sigmoids:
            loss = WeightedCrossEntropy(weights_MK)
            return lambda step: {"ce": loss(step.logits_MBK, step.labels_MB)}
        gamma_M = task.hyperparameters["gamma"]
        return lambda step: {"focal": sigmoid_focal(step.logits_MBK, step.labels_MB, gamma_M, weights_MK)}

    def probabilities(self, scores_MNK: Tensor, method_state: Mapping[str, Tensor]) -> Tensor | None:
        return scores_MNK.sigmoid() if self._sigmoids else super().probabilities(scores_MNK, method_state)

    @property
    def _sigmoids(self) -> bool:
        return self.form == "sigmoid_focal"
