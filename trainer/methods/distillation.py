"""Finetuning on new images and exemplars plus distillation on the old classes, plain or any other."""

from typing import ClassVar

from trainer.distill.base import DistillationName, prepare
from trainer.methods.base import ChoosesLoss, distillation_temperature, distillation_weight, hyperparameter
from trainer.stages.stage import Stage, Step, TaskContext, Terms


class Distillation(ChoosesLoss):
    paper: ClassVar[str] = "Li & Hoiem, Learning without Forgetting, ECCV 2016, with exemplars"
    needs_teacher: ClassVar[bool] = True

    lambda_: float = distillation_weight()
    kd: DistillationName = hyperparameter("kd", "the distillation", first_task=1)
    temperature: float = distillation_temperature()

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        classification, distillation = self.classification(task), prepare(self.kd, task.old_classes())
        if distillation is None:
            return (Stage("train", task.optim, classification),)

        def loss(step: Step) -> Terms:
            weight_M = task.hyperparameters["lambda"] * task.hyperparameters["temperature"] ** 2
            return {**classification(step), "kd": weight_M * distillation.loss(step.pair())}

        return (Stage("train", task.optim, loss),)
