"""Finetuning with replay plus distillation on the old classes, plain or any other."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from trainer.distill.base import DistillationName, KnowledgeDistillation, prepare
from trainer.losses.cross_entropy import cross_entropy
from trainer.methods.base import Method, hyperparameter
from trainer.stages.stage import Stage, Step, TaskContext, Terms


class Distillation(Method):
    paper: ClassVar[str] = "Li & Hoiem, Learning without Forgetting, ECCV 2016, with exemplars"
    needs_teacher: ClassVar[bool] = True

    lambda_: float = hyperparameter(
        1.0, "weight of the distillation", alias="lambda", per_member=True, first_task=1, ge=0, le=100
    )
    kd: DistillationName = hyperparameter("kd", "the distillation", first_task=1)
    temperature: float = hyperparameter(2.0, "softens teacher and student", per_member=True, first_task=1, gt=0, le=100)

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        loss = partial(self.terms, distillation=prepare(self.kd, task.old_classes()))
        return (Stage("train", task.optim, loss),)

    def terms(self, step: Step, distillation: KnowledgeDistillation | None) -> Terms:
        terms = {"ce": cross_entropy(step.logits_MBK, step.labels_MB)}
        if distillation is not None:
            T = step.task.hyperparameters["temperature"]
            distilled_M = distillation.loss(step.pair())
            terms["kd"] = step.task.hyperparameters["lambda"] * T**2 * distilled_M
        return terms
