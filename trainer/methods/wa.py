"""Weight alignment: distillation, then the new rows of the classifier are scaled to the old ones' mean norm."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from trainer.distill.kd import kd
from trainer.losses.cross_entropy import cross_entropy
from trainer.methods.base import Method, hyper
from trainer.nets.correction import align_new_rows
from trainer.nets.network import Network
from trainer.stages import Stage, Step, TaskContext, TaskImages, Terms

if TYPE_CHECKING:
    from trainer.state import State


class Wa(Method):
    paper: ClassVar[str] = (
        "Zhao et al., Maintaining Discrimination and Fairness in Class Incremental Learning, CVPR 2020"
    )
    needs_teacher: ClassVar[bool] = True

    lambda_: float = hyper(
        1.0,
        "weight of the distillation, beside its share m / K",
        alias="lambda",
        fusable=True,
        acts_from=1,
        ge=0,
        le=100,
    )
    temperature: float = hyper(2.0, "softens teacher and student", fusable=True, acts_from=1, gt=0, le=100)
    clip_weights: bool = hyper(
        False, "keep the classifier's weights at 0 or more, as the paper does, so that norms are sizes of logits"
    )

    def plan(self, task: TaskContext, carried: dict[str, Tensor]) -> tuple[Stage, ...]:
        return (Stage("train", task.optim, self.loss, after_step=_clip if self.clip_weights else None),)

    def loss(self, step: Step) -> Terms:
        """``(1 - m/K) CE + m/K KD``."""
        ce_M = cross_entropy(step.logits_MBK, step.labels_MB)
        if step.teacher_MBK is None:
            return {"ce": ce_M}
        share = step.task.old / step.task.seen
        old_MBm = step.logits_MBK[..., : step.task.old]
        kd_M = kd(old_MBm, step.teacher_MBK, step.task.hyper["temperature"])
        return {"ce": (1 - share) * ce_M, "kd": step.task.hyper["lambda"] * share * kd_M}

    def after_stage(self, stage: Stage, state: State, images: TaskImages) -> None:
        if stage.name == "train" and images.old:
            align_new_rows(state.network.classifier, images.old)


@torch.no_grad()
def _clip(network: Network) -> None:
    network.classifier.weight_MKD.clamp_(min=0)
