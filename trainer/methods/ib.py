"""Influence-balanced training: plain cross-entropy first, then images count less the more they pull at the head.

The loss and a drop of the learning rate begin together: with the factor 1000 the rate of before would be far too large.
The start is that of the released command for CIFAR-100, not the default of its code.
"""

from functools import partial
from typing import Literal

from torch import Tensor

from trainer.losses.class_weights import effective_number_weights, inverse_frequency_weights
from trainer.losses.influence_balanced import influence_balanced
from trainer.methods.base import Method, effective_number_beta, hyperparameter
from trainer.stages.stage import Stage, Step, TaskContext, Terms


class InfluenceBalanced(Method):
    paper = "Park et al., Influence-Balanced Loss for Imbalanced Visual Classification, ICCV 2021"
    differences = (
        "With class weights, the released code takes the focal factor's p from the weighted loss, which makes it p "
        "to the power of the weight (`focal_p`); here p is the label's probability, as in the focal loss's paper.",
    )

    ib_start: int | None = hyperparameter(None, ge=0)
    """epoch from which the loss is influence-balanced; null: half of the epochs (100 of 200)"""
    ib_lr_factor: float = hyperparameter(0.01, gt=0, le=1)
    """factor of the learning rate from then on, in addition to the milestones'"""
    ib_strength: float = hyperparameter(1000.0, per_member=True, gt=0, le=1e5)
    """factor of the loss (alpha in the released code)"""
    ib_epsilon: float = hyperparameter(0.001, per_member=True, gt=0, le=1)
    """added to the influence"""
    class_weights: Literal["inverse", "effective", "none"] = hyperparameter("inverse")
    """weight by class in addition to the influence: 1 / n, effective numbers (IB + CB), or none"""
    cb_beta: float = effective_number_beta(0.9999)
    gamma: float = hyperparameter(0.0, per_member=True, ge=0, le=10)
    """focal factor in addition to the influence (IB + Focal: 1)"""
    focal_p: Literal["label", "weighted"] = hyperparameter("label")
    """the p of the focal factor: the label's probability, or that to the power of the class weight (released code)"""
    detach_weight: bool = hyperparameter(False)
    """keep the gradient out of the influence; the released code does not, which makes features grow"""

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        start = task.optim.epochs // 2 if self.ib_start is None else self.ib_start
        if self.class_weights == "inverse":
            weights_MK = inverse_frequency_weights(task.kept_K).expand(task.members, -1)
        else:  # of beta 0 all weights are 1
            beta_M = task.hyperparameters["cb_beta"] * (self.class_weights == "effective")
            weights_MK = effective_number_weights(task.kept_K, beta_M)
        loss = partial(self.balanced_from, start=start, weights_MK=weights_MK.to(task.dtype))
        return (Stage("train", task.optim, loss, drops={start: self.ib_lr_factor}),)

    def balanced_from(self, step: Step, start: int, weights_MK: Tensor) -> Terms:
        if step.epoch < start:
            return self.loss(step)
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
                weighted_p=self.focal_p == "weighted",
            )
        }
