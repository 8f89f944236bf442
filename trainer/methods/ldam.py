"""Margins that are larger for rarer classes, on a cosine classifier; with deferred reweighting if asked.

The logits are the cosines themselves: the scale belongs to the loss alone.
"""

from functools import partial
from typing import ClassVar

from torch import Tensor, nn

from trainer.losses.class_weights import deferral, effective_number_weights
from trainer.losses.ldam import ldam, margins
from trainer.methods.base import Method, effective_number_beta, hyperparameter
from trainer.nets.heads import CosineHead
from trainer.stages.stage import Stage, Step, TaskContext, Terms


class Ldam(Method):
    paper: ClassVar[str] = (
        "Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss, NeurIPS 2019"
    )

    margin: float = hyperparameter(0.5, "of the rarest class, in cosine", per_member=True, ge=0, le=2)
    scale: float = hyperparameter(30.0, "of the cosines in the loss", per_member=True, gt=0, le=200)
    drw: bool = hyperparameter(False, "deferred reweighting: class weights in the last epochs (LDAM-DRW)")
    drw_start: int | None = hyperparameter(
        None, "epoch from which they act; null: where the learning rate first falls, or after 4/5 of the epochs", ge=0
    )
    cb_beta: float = effective_number_beta(0.9999)

    def parts(self, members: int, features: int) -> dict[str, nn.Module]:
        return {"head": CosineHead(members, features, scale=1.0)}

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        margins_MK = margins(task.kept_K, task.hyperparameters["margin"]).to(task.dtype)
        weights_MK = (
            effective_number_weights(task.kept_K, task.hyperparameters["cb_beta"]).to(task.dtype) if self.drw else None
        )
        start = deferral(task.optim.milestones, task.optim.epochs) if self.drw_start is None else self.drw_start
        loss = partial(self.with_margins, margins_MK=margins_MK, weights_MK=weights_MK, start=start)
        return (Stage("train", task.optim, loss),)

    def with_margins(self, step: Step, margins_MK: Tensor, weights_MK: Tensor | None, start: int) -> Terms:
        weights_MK = weights_MK if step.epoch >= start else None
        return {
            "ldam": ldam(step.logits_MBK, step.labels_MB, margins_MK, step.task.hyperparameters["scale"], weights_MK)
        }
