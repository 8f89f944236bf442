"""Learning a unified classifier by rebalancing (LUCIR): cosines, features that keep their direction, a margin.

The rows of old classes stand still. As in the code of Long-Tailed CIL (Liu et al., ECCV 2022), new rows are drawn at
random, not imprinted, and there is no fine-tuning afterwards.
"""

from __future__ import annotations

import math
from typing import ClassVar, cast

from torch import nn

from trainer.distill.features import cosine_distance
from trainer.losses.cross_entropy import cross_entropy
from trainer.losses.margin_ranking import margin_ranking
from trainer.methods.base import Method, hyperparameter
from trainer.nets.heads import CosineHead
from trainer.stages.stage import Stage, Step, TaskContext, Terms


class Lucir(Method):
    paper: ClassVar[str] = "Hou et al., Learning a Unified Classifier Incrementally via Rebalancing, CVPR 2019"
    needs_teacher: ClassVar[bool] = True
    last_relu: ClassVar[bool] = False

    lambda_: float = hyperparameter(
        5.0,
        "weight of the distillation of features, times sqrt(old classes / new classes); 10 for ImageNet",
        alias="lambda",
        per_member=True,
        first_task=1,
        ge=0,
        le=1000,
    )
    ranking: float = hyperparameter(1.0, "weight of the margin ranking", per_member=True, first_task=1, ge=0, le=100)
    margin: float = hyperparameter(
        0.5, "of an exemplar's own class over new classes, in cosines", per_member=True, first_task=1, ge=0, le=2
    )
    nearest: int = hyperparameter(2, "new classes that an exemplar is ranked against", first_task=1, ge=1, le=1000)

    def parts(self, members: int, features: int) -> dict[str, nn.Module]:
        return {"head": CosineHead(members, features)}

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        return (Stage("train", task.optim, self.loss, frozen_rows=task.old),)

    def loss(self, step: Step) -> Terms:
        terms = {"ce": cross_entropy(step.logits_MBK, step.labels_MB)}
        if step.out.teacher is not None:
            task, hyperparameters = step.task, step.task.hyperparameters
            similarity_MBK = cast(CosineHead, step.head).similarities(step.features_MBD)
            apart_M = cosine_distance(step.features_MBD, step.out.teacher.features_MBD)
            ranked_M = margin_ranking(similarity_MBK, step.labels_MB, task.old, hyperparameters["margin"], self.nearest)
            terms["features"] = hyperparameters["lambda"] * math.sqrt(task.old / task.new) * apart_M
            terms["ranking"] = hyperparameters["ranking"] * ranked_M
        return terms
