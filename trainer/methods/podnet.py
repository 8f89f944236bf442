"""Pooled outputs distillation (PODNet): several proxies a class, features and pooled maps that stay near the old ones.

The rows of old classes stand still. Maps are those of the network's stages before their last ReLU.
"""

import math
from typing import Literal, cast

from torch import nn

from trainer.distill.features import cosine_distance, pooled_distance
from trainer.losses.nca import nca
from trainer.methods.base import Method, hyperparameter
from trainer.nets.heads import CosineHead
from trainer.stages.stage import Stage, Step, TaskContext, Terms


class Podnet(Method):
    paper = "Douillard et al., PODNet: Pooled Outputs Distillation for Small-Tasks Incremental Learning, ECCV 2020"
    needs_teacher = True
    last_relu = False
    differences = (
        "In Long-Tailed CIL's code no block of PODNet's ResNet-32 ends in a ReLU, and its shortcuts are padded; "
        "here the backbone is that of all methods without the last ReLU.",
        "Long-Tailed CIL's ResNet-18 for PODNet has a 3x3 stem of stride 1 and residual branches that start at "
        "zero; here it is the ordinary one.",
    )

    flat: float = hyperparameter(1.0, per_member=True, first_task=1, ge=0, le=1000)
    """weight of the distillation of features, times sqrt(all classes / new classes)"""
    spatial: float = hyperparameter(3.0, per_member=True, first_task=1, ge=0, le=1000)
    """weight of the distillation of pooled maps, times sqrt(all classes / new classes)"""
    proxies: int = hyperparameter(10, ge=1, le=1000)
    """of a class"""
    classification: Literal["ce", "nca"] = hyperparameter("ce")
    """cross-entropy, as in Long-Tailed CIL, whose margin cancels; or the paper's loss with a margin"""
    margin: float = hyperparameter(0.6, per_member=True, ge=0, le=2)
    """of the paper's loss, in similarities; none in cross-entropy"""

    def parts(self, members: int, features: int) -> dict[str, nn.Module]:
        return {"head": CosineHead(members, features, proxies=self.proxies)}

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        return (Stage("train", task.optim, self.loss, frozen_rows=task.old),)

    def loss(self, step: Step) -> Terms:
        logits_MBK, labels_MB, hyperparameters = step.logits_MBK, step.labels_MB, step.task.hyperparameters
        if self.classification == "ce":
            terms = super().loss(step)
        else:
            scale_M = cast(CosineHead, step.head).scale_M
            terms = {"nca": nca(logits_MBK, labels_MB, scale_M * hyperparameters["margin"])}
        if step.out.teacher is not None:
            growth = math.sqrt(step.task.seen / step.task.new)
            old, now = step.out.teacher, step.out
            terms["flat"] = hyperparameters["flat"] * growth * cosine_distance(now.features_MBD, old.features_MBD)
            apart_M = pooled_distance(now.maps.stage_outputs, old.maps.stage_outputs, step.task.members)
            terms["spatial"] = hyperparameters["spatial"] * growth * apart_M
        return terms
