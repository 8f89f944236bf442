"""Margins that are larger for rarer classes, on a cosine classifier; with deferred reweighting if asked.

The logits are the cosines themselves: the scale belongs to the loss alone.
"""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from trainer.losses.class_weights import deferral, effective_number_weights
from trainer.losses.ldam import ldam, margins
from trainer.methods.base import Method, effective_number_beta, hyperparameter
from trainer.nets.heads import CosineHead
from trainer.stages.stage import Stage, Step, TaskContext, Terms


class Ldam(Method):
    paper = "Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss, NeurIPS 2019"
    differences = (
        "In the released code rows of the classifier start at norm 1; here at about 0.58, unless `net.init` is "
        "`fan_in`.",
    )

    margin: float = hyperparameter(0.5, per_member=True, ge=0, le=2)
    """of the rarest class, in cosine"""
    scale: float = hyperparameter(30.0, per_member=True, gt=0, le=200)
    """of the cosines in the loss"""
    drw: bool = hyperparameter(False)
    """deferred reweighting: class weights in the last epochs (LDAM-DRW)"""
    drw_start: int | None = hyperparameter(None, ge=0)
    """epoch from which they act; null: where the learning rate first falls, or after 4/5 of the epochs"""
    cb_beta: float = effective_number_beta(0.9999)

    def parts(self, members: int, features: int) -> dict[str, nn.Module]:
        return {"head": CosineHead(members, features, scale=1.0)}

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        # The scale is a member's own, and probabilities need it when the task is over.
        scale_M = task.hyperparameters["scale"]
        return (Stage("train", task.optim, self.task_loss(task), buffers={"scale_M": scale_M}),)

    def task_loss(self, task: TaskContext) -> Callable[[Step], Terms]:
        margins_MK = margins(task.kept_K, task.hyperparameters["margin"]).to(task.dtype)
        deferred_MK = effective_number_weights(task.kept_K, task.hyperparameters["cb_beta"]).to(task.dtype)
        start = deferral(task.optim.milestones, task.optim.epochs) if self.drw_start is None else self.drw_start
        scale_M = task.hyperparameters["scale"]

        def loss(step: Step) -> Terms:
            weights_MK = deferred_MK if self.drw and step.epoch >= start else None
            return {"ldam": ldam(step.logits_MBK, step.labels_MB, margins_MK, scale_M, weights_MK)}

        return loss

    def probabilities(self, scores_MNK: Tensor, method_state: Mapping[str, Tensor]) -> Tensor:
        """The softmax that the loss takes, of scaled cosines."""
        return (method_state["scale_M"][:, None, None] * scores_MNK).softmax(2)
