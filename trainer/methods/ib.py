"""Influence-balanced training: plain cross-entropy first, then images count less the more they pull at the head.

The loss and a drop of the learning rate begin together: with the factor 1000 the rate of before would be far too large.
The start is that of the released command for CIFAR-100, not the default of its code.
"""

from functools import partial
from typing import ClassVar, Literal

from torch import Tensor

from trainer.losses.class_weights import effective_number_weights, inverse_frequency_weights
from trainer.losses.cross_entropy import cross_entropy
from trainer.losses.influence_balanced import influence_balanced
from trainer.methods.base import Method, effective_number_beta, hyperparameter
from trainer.stages.stage import Stage, Step, TaskContext, Terms


class InfluenceBalanced(Method):
    paper: ClassVar[str] = "Park et al., Influence-Balanced Loss for Imbalanced Visual Classification, ICCV 2021"

    ib_start: int | None = hyperparameter(
        None, "epoch from which the loss is influence-balanced; null: half of the epochs (100 of 200)", ge=0
    )
    ib_lr_factor: float = hyperparameter(
        0.01, "factor of the learning rate from then on, in addition to the milestones'", gt=0, le=1
    )
    ib_strength: float = hyperparameter(
        1000.0, "factor of the loss (alpha in the released code)", per_member=True, gt=0, le=1e5
    )
    ib_epsilon: float = hyperparameter(0.001, "added to the influence", per_member=True, gt=0, le=1)
    class_weights: Literal["inverse", "effective", "none"] = hyperparameter(
        "inverse", "weight by class in addition to the influence: 1 / n, effective numbers (IB + CB), or none"
    )
    cb_beta: float = effective_number_beta(0.9999)
    gamma: float = hyperparameter(
        0.0, "focal factor in addition to the influence (IB + Focal: 1)", per_member=True, ge=0, le=10
    )
    detach_weight: bool = hyperparameter(
        False, "keep the gradient out of the influence; the released code does not, which makes features grow"
    )

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        start = task.optim.epochs // 2 if self.ib_start is None else self.ib_start
        loss = partial(self.balanced_from, start=start, weights_MK=self.weights(task).to(task.dtype))
        return (Stage("train", task.optim, loss, drops={start: self.ib_lr_factor}),)

    def weights(self, task: TaskContext) -> Tensor:
        """``[M, K]``, float64"""
        if self.class_weights == "none":
            return task.zeros_MK().double() + 1
        if self.class_weights == "effective":
            return effective_number_weights(task.kept_K, task.hyperparameters["cb_beta"])
        return inverse_frequency_weights(task.kept_K).expand(task.members, -1)

    def balanced_from(self, step: Step, start: int, weights_MK: Tensor) -> Terms:
        if step.epoch < start:
            return {"ce": cross_entropy(step.logits_MBK, step.labels_MB)}
        hyperparameters = step.task.hyperparameters
        return {
            "ib": influence_balanced(
                step.logits_MBK,
                step.labels_MB,
                step.features_MBD,
                weights_MK,
                strength_M=hyperparameters["ib_strength"],
                epsilon_M=hyperparameters["ib_epsilon"],
                gamma_M=hyperparameters["gamma"],
                detach=self.detach_weight,
            )
        }
