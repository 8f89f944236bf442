"""Class-balanced loss: focal or cross-entropy, weighted by the effective number of each class's images.

Weights act from the first epoch and losses are divided by the number of images. Sigmoids start at the probability 1/K,
and their biases do not decay. The paper's numbers are each the best of a grid over the form, beta and gamma; the
defaults are one point of it.
"""

from functools import partial
from typing import ClassVar, Literal

from torch import Tensor, nn

from trainer.losses.class_weights import effective_number_weights, of_labels, weighted_mean
from trainer.losses.cross_entropy import image_cross_entropy
from trainer.losses.sigmoid_focal import sigmoid_focal
from trainer.methods.base import Method, effective_number_beta, hyperparameter
from trainer.nets.heads import LinearHead, rare_bias
from trainer.stages.stage import Stage, Step, TaskContext, Terms


class ClassBalanced(Method):
    paper: ClassVar[str] = "Cui et al., Class-Balanced Loss Based on Effective Number of Samples, CVPR 2019"

    form: Literal["sigmoid_focal", "softmax"] = hyperparameter(
        "sigmoid_focal", "focal loss on sigmoids, or cross-entropy"
    )
    cb_beta: float = effective_number_beta(0.99)
    gamma: float = hyperparameter(
        1.0, "sigmoid_focal: how fast an entry counts less; 0: binary cross-entropy", per_member=True, ge=0, le=10
    )

    def parts(self, members: int, features: int) -> dict[str, nn.Module]:
        return {"head": LinearHead(members, features, bias_init=rare_bias if self._sigmoids else None)}

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        weights_MK = effective_number_weights(task.kept_K, task.hyperparameters["cb_beta"]).to(task.dtype)
        loss = partial(self.weighted, weights_MK=weights_MK)
        return (Stage("train", task.optim, loss, no_decay=("head.bias_MK",) if self._sigmoids else ()),)

    def weighted(self, step: Step, weights_MK: Tensor) -> Terms:
        if self._sigmoids:
            return {
                "focal": sigmoid_focal(step.logits_MBK, step.labels_MB, step.task.hyperparameters["gamma"], weights_MK)
            }
        ce_MB = image_cross_entropy(step.logits_MBK, step.labels_MB)
        return {"ce": weighted_mean(ce_MB, of_labels(weights_MK, step.labels_MB), "images")}

    @property
    def _sigmoids(self) -> bool:
        return self.form == "sigmoid_focal"
