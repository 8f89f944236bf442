"""Learning a unified classifier by rebalancing (LUCIR): cosines, features that keep their direction, a margin.

The rows of old classes stand still. As in the code of Long-Tailed CIL (Liu et al., ECCV 2022), new rows are drawn at
random, not imprinted, and there is no fine-tuning afterwards.
"""

import math
from typing import cast

from torch import nn

from trainer.distill.features import cosine_distance
from trainer.losses.margin_ranking import margin_ranking
from trainer.methods.base import ChoosesLoss, distillation_weight, hyperparameter
from trainer.nets.heads import CosineHead
from trainer.nets.network import Outputs
from trainer.stages.stage import Stage, Step, TaskContext, Terms


class Lucir(ChoosesLoss):
    paper = "Hou et al., Learning a Unified Classifier Incrementally via Rebalancing, CVPR 2019"
    needs_teacher = True
    last_relu = False
    differences = (
        "With the second stage, Long-Tailed CIL's code skips the first stage of a task with at most 10 images a "
        "class; here it is trained.",
        "In ResNet-18, Long-Tailed CIL's code removes the last ReLU of the third stage; here that of the network is "
        "removed.",
    )

    lambda_: float = distillation_weight(5.0, le=1000)
    """weight of the distillation of features, times sqrt(old classes / new classes); 10 for ImageNet"""
    ranking: float = hyperparameter(1.0, per_member=True, first_task=1, ge=0, le=100)
    """weight of the margin ranking"""
    margin: float = hyperparameter(0.5, per_member=True, first_task=1, ge=0, le=2)
    """of an exemplar's own class over new classes, in cosines"""
    nearest: int = hyperparameter(2, first_task=1, ge=1, le=1000)
    """new classes that an exemplar is ranked against"""

    def parts(self, members: int, features: int) -> dict[str, nn.Module]:
        return {"head": CosineHead(members, features)}

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        classification = self.task_loss(task)

        def loss(step: Step) -> Terms:
            terms = classification(step)
            return terms if step.out.teacher is None else {**terms, **self.distances(step, step.out.teacher)}

        return (Stage("train", task.optim, loss, frozen_rows=task.old),)

    def distances(self, step: Step, teacher: Outputs) -> Terms:
        """Features that keep their direction, and exemplars that keep a margin over new classes."""
        task, hyperparameters = step.task, step.task.hyperparameters
        similarity_MBK = cast(CosineHead, step.head).similarities(step.features_MBD)
        apart_M = cosine_distance(step.features_MBD, teacher.features_MBD)
        ranked_M = margin_ranking(similarity_MBK, step.labels_MB, task.old, hyperparameters["margin"], self.nearest)
        return {
            "features": hyperparameters["lambda"] * math.sqrt(task.old / task.new) * apart_M,
            "ranking": hyperparameters["ranking"] * ranked_M,
        }
