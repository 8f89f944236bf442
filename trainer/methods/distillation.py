"""Finetuning on new images and exemplars plus distillation on the old classes, plain or any other."""

from collections.abc import Callable

from trainer.distill.base import DistillationName, prepare
from trainer.methods.base import ChoosesLoss, distillation_temperature, distillation_weight, hyperparameter
from trainer.stages.stage import Step, TaskContext, Terms


class Distillation(ChoosesLoss):
    paper = "Li & Hoiem, Learning without Forgetting, ECCV 2016, with exemplars"
    needs_teacher = True

    lambda_: float = distillation_weight()
    """weight of the distillation"""
    kd: DistillationName = hyperparameter("kd", first_task=1)
    """the distillation"""
    temperature: float = distillation_temperature()

    def task_loss(self, task: TaskContext) -> Callable[[Step], Terms]:
        classification, distillation = super().task_loss(task), prepare(self.kd, task.old_classes())
        if distillation is None:
            return classification

        def loss(step: Step) -> Terms:
            weight_M = task.hyperparameters["lambda"] * task.hyperparameters["temperature"] ** 2
            return {**classification(step), "kd": weight_M * distillation.loss(step.pair())}

        return loss
