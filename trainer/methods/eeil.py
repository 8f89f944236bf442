"""End-to-end incremental learning: each task's classes distilled by themselves, then fine-tuning on balanced data.

Of the balanced data, old classes are their exemplars, and new ones as many images each, herded.
"""

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from trainer.distill.taskwise import headwise_bce
from trainer.methods.base import Method, distillation_temperature, distillation_weight, hyperparameter
from trainer.stages.exemplars import Candidates, herding
from trainer.stages.learner import Learner
from trainer.stages.optim import rescheduled
from trainer.stages.stage import Stage, Step, TaskContext, TaskImages, Terms


class Eeil(Method):
    paper = "Castro et al., End-to-End Incremental Learning, ECCV 2018"
    needs_teacher = True
    differences = (
        "Long-Tailed CIL's code does not distil the last task's classes before the fine-tuning (`skip_last_task`).",
        "Long-Tailed CIL's code fine-tunes on a random part of the new images (`balanced_new`).",
    )

    lambda_: float = distillation_weight()
    """weight of the distillation, a sum over tasks"""
    temperature: float = distillation_temperature()
    balanced_epochs: float = hyperparameter(0.25, first_task=1, gt=0, le=10)
    """epochs of the fine-tuning, as a part of those of a task (40 of 160)"""
    balanced_lr: float = hyperparameter(0.01, first_task=1, gt=0, le=10)
    """learning rate of the fine-tuning, as a part of a task's"""
    balanced_new: Literal["herded", "random"] = hyperparameter("herded", first_task=1)
    """new images of the fine-tuning: as many herded ones a class as there are exemplars of an old one, or, as
    Long-Tailed CIL's code does, as many as there are exemplars of all old classes together, whatever their class"""
    skip_last_task: bool = hyperparameter(False, first_task=1)
    """do not distil the last task's classes before the fine-tuning, as Long-Tailed CIL's code does"""

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        taught = task.sizes[:-1]
        first = Stage("train", task.optim, partial(self.terms, sizes=taught[:-1] if self.skip_last_task else taught))
        if task.old == 0:
            return (first,)

        def pool(images: TaskImages) -> Tensor:
            return torch.cat([images.exemplars_ME, task.method_state["balanced_Mn"]], dim=1)

        optim = rescheduled(task.optim, self.balanced_epochs, lr=self.balanced_lr * task.optim.lr)
        return (first, Stage("balanced", optim, partial(self.terms, sizes=taught), pool=pool))

    def after_stage(self, stage: Stage, learner: Learner, images: TaskImages) -> None:
        """Choose the new images of the fine-tuning, by the network as the first stage leaves it."""
        if stage.name != "train" or images.old == 0:
            return
        new_n = images.new_N
        if self.balanced_new == "random":
            order_MN = images.streams.permutation("balanced", len(new_n)).to(new_n.device)
            chosen_Mn = order_MN[:, : images.exemplars_ME.shape[1]]
        else:
            candidates = Candidates.of(images.labels_A[new_n], images.old, learner.network.classifier.classes)
            chosen_Mn = herding(images.embed(new_n).features_MND, candidates, images.per_class)
        learner.method_state["balanced_Mn"] = new_n[chosen_Mn]

    def terms(self, step: Step, sizes: tuple[int, ...]) -> Terms:
        """Cross-entropy, and the distillation of the first tasks, of ``sizes`` classes."""
        terms = self.loss(step)
        if step.teacher_MBK is not None and sizes:
            T_M = step.task.hyperparameters["temperature"]
            distilled_M = headwise_bce(step.logits_MBK, step.teacher_MBK, sizes, T_M)
            terms["kd"] = step.task.hyperparameters["lambda"] * distilled_M
        return terms
