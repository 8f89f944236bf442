"""Finetuning with replay plus plain knowledge distillation on the old classes."""

from __future__ import annotations

from typing import ClassVar

from trainer.distill.kd import kd
from trainer.losses.cross_entropy import cross_entropy
from trainer.methods.base import Method, hyper
from trainer.stages import Step, Terms


class Distillation(Method):
    paper: ClassVar[str] = "Li & Hoiem, Learning without Forgetting, ECCV 2016, with exemplars"
    needs_teacher: ClassVar[bool] = True

    lambda_: float = hyper(1.0, "weight of the distillation", alias="lambda", fusable=True, acts_from=1, ge=0, le=100)
    temperature: float = hyper(2.0, "softens teacher and student", fusable=True, acts_from=1, gt=0, le=100)

    def loss(self, step: Step) -> Terms:
        terms = {"ce": cross_entropy(step.logits_MBK, step.labels_MB)}
        if step.teacher_MBK is not None:
            T = step.task.hyper["temperature"]
            old = step.logits_MBK[..., : step.task.old]
            terms["kd"] = step.task.hyper["lambda"] * T**2 * kd(old, step.teacher_MBK, T)
        return terms
