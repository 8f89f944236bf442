"""Equalization loss v2: sigmoids whose negative gradients are let through as far as positive ones balance them.

What was accumulated of each class is kept over all tasks. Sigmoids start at the probability 1/K, and their biases do
not decay: from 1/2, one batch would shut every gate. The constants are those for detection; none were published for
classification.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from trainer.losses.eql_v2 import eql_v2, gates, gradient_ratio, weighted_gradients
from trainer.methods.base import Method, hyperparameter
from trainer.nets.heads import LinearHead, rare_bias
from trainer.stages.stage import Stage, Step, TaskContext, Terms

_UNSEEN = 100.0
"""ratio of a class before its first batch: all of its gradient passes"""


class EqlV2(Method):
    paper = (
        "Tan et al., Equalization Loss v2: A New Gradient Balance Approach for Long-tailed Object Detection, CVPR "
        "2021, without what is about detection"
    )

    slope: float = hyperparameter(12.0, per_member=True, gt=0, le=100)
    """of the gate over the gradient ratio (gamma)"""
    centre: float = hyperparameter(0.8, per_member=True, ge=0, le=10)
    """ratio at which the gate is half open (mu)"""
    gain: float = hyperparameter(4.0, per_member=True, ge=0, le=100)
    """by which positive gradients grow where the gate is shut (alpha)"""

    def parts(self, members: int, features: int) -> dict[str, nn.Module]:
        return {"head": LinearHead(members, features, bias_init=rare_bias, deviation=0.01)}

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        fresh = {"positive_MK": 0.0, "negative_MK": 0.0, "ratio_MK": _UNSEEN}
        buffers = {name: task.continued_MK(name, value) for name, value in fresh.items()}
        return (Stage("train", task.optim, self.loss, buffers=buffers, no_decay=("head.bias_MK",)),)

    def loss(self, step: Step) -> Terms:
        hyperparameters, kept = step.task.hyperparameters, step.buffers
        gates_MK = gates(kept["ratio_MK"], hyperparameters["slope"], hyperparameters["centre"], hyperparameters["gain"])
        loss_M = eql_v2(step.logits_MBK, step.labels_MB, *gates_MK)
        positive_MK, negative_MK = weighted_gradients(step.logits_MBK, step.labels_MB, *gates_MK)
        kept["positive_MK"] += positive_MK
        kept["negative_MK"] += negative_MK
        kept["ratio_MK"].copy_(gradient_ratio(kept["positive_MK"], kept["negative_MK"]))
        return {"eql": loss_M}

    def probabilities(self, scores_MNK: Tensor, method_state: Mapping[str, Tensor]) -> Tensor:
        return scores_MNK.sigmoid()
