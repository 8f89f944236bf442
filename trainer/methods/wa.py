"""Weight alignment: distillation, then the new rows of the classifier are scaled to the old ones' mean norm."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import torch

from trainer.distill.base import DistillationName, KnowledgeDistillation, prepare
from trainer.losses.cross_entropy import cross_entropy
from trainer.methods.base import Method, hyperparameter
from trainer.nets.correction import align_new_rows
from trainer.nets.network import Network
from trainer.stages.learner import Learner
from trainer.stages.stage import Stage, Step, TaskContext, TaskImages, Terms


class Wa(Method):
    paper: ClassVar[str] = (
        "Zhao et al., Maintaining Discrimination and Fairness in Class Incremental Learning, CVPR 2020"
    )
    needs_teacher: ClassVar[bool] = True

    lambda_: float = hyperparameter(
        1.0, "weight of the distillation, beside its m / K", alias="lambda", per_member=True, first_task=1, ge=0, le=100
    )
    temperature: float = hyperparameter(2.0, "softens teacher and student", per_member=True, first_task=1, gt=0, le=100)
    kd: DistillationName = hyperparameter("kd", "the distillation", first_task=1)
    clip_weights: bool = hyperparameter(
        False, "keep the classifier's weights at 0 or more, as the paper does, so that norms are sizes of logits"
    )

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        loss = partial(self.terms, distillation=prepare(self.kd, task.old_classes()))
        return (Stage("train", task.optim, loss, after_step=_clip if self.clip_weights else None),)

    def terms(self, step: Step, distillation: KnowledgeDistillation | None) -> Terms:
        """``(1 - m/K) CE + m/K KD``."""
        ce_M = cross_entropy(step.logits_MBK, step.labels_MB)
        if distillation is None:
            return {"ce": ce_M}
        share = step.task.old / step.task.seen
        kd_M = distillation.loss(step.pair())
        return {"ce": (1 - share) * ce_M, "kd": step.task.hyperparameters["lambda"] * share * kd_M}

    def after_stage(self, stage: Stage, learner: Learner, images: TaskImages) -> None:
        if stage.name == "train" and images.old:
            align_new_rows(learner.network.classifier, images.old)


@torch.no_grad()
def _clip(network: Network) -> None:
    network.classifier.weight_MKD.clamp_(min=0)
