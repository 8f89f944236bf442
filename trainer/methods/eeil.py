"""End-to-end incremental learning: each task's classes distilled by themselves, then fine-tuning on balanced data.

Of the balanced data, old classes are their exemplars, and new ones as many images each, herded. The code of
Long-Tailed CIL (Liu et al., ECCV 2022) does two things differently, each a switch here.
"""

from collections.abc import Mapping
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor

from trainer.distill.headwise import headwise_bce
from trainer.losses.cross_entropy import cross_entropy
from trainer.methods.base import Method, distillation_temperature, distillation_weight, hyperparameter
from trainer.stages.exemplars import Candidates, herding, kept_only
from trainer.stages.learner import Learner
from trainer.stages.optim import rescheduled
from trainer.stages.stage import Stage, Step, TaskContext, TaskImages, Terms


class Eeil(Method):
    paper: ClassVar[str] = "Castro et al., End-to-End Incremental Learning, ECCV 2018"
    needs_teacher: ClassVar[bool] = True

    lambda_: float = distillation_weight(doc="weight of the distillation, a sum over tasks")
    temperature: float = distillation_temperature()
    balanced_epochs: float = hyperparameter(
        0.25, "epochs of the fine-tuning, as a part of those of a task (40 of 160)", first_task=1, gt=0, le=10
    )
    balanced_lr: float = hyperparameter(
        0.01, "learning rate of the fine-tuning, as a part of a task's", first_task=1, gt=0, le=10
    )
    balanced_new: Literal["herded", "random"] = hyperparameter(
        "herded",
        "new images of the fine-tuning: as many herded ones a class as there are exemplars of an old one, or, as "
        "Long-Tailed CIL's code does, as many as there are exemplars of all old classes together, whatever their class",
        first_task=1,
    )
    skip_last_task: bool = hyperparameter(
        False,
        "do not distil the last task's classes before the fine-tuning, as Long-Tailed CIL's code does",
        first_task=1,
    )

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        taught = task.sizes[:-1]
        first = Stage("train", task.optim, partial(self.terms, sizes=taught[:-1] if self.skip_last_task else taught))
        if task.old == 0:
            return (first,)
        optim = rescheduled(task.optim, self.balanced_epochs, lr=self.balanced_lr * task.optim.lr)
        return (
            first,
            Stage("balanced", optim, partial(self.terms, sizes=taught), pool=partial(_balanced, task.method_state)),
        )

    def after_stage(self, stage: Stage, learner: Learner, images: TaskImages) -> None:
        """Choose the new images of the fine-tuning, by the network as the first stage leaves it."""
        if stage.name != "train" or images.old == 0:
            return
        new_n = images.new_N
        per_class = self.exemplars_per_class(images.per_class)
        if self.balanced_new == "random":
            order_MN = images.streams.permutation("balanced", len(new_n)).to(new_n.device)
            chosen_Mn = new_n[order_MN[:, : images.exemplars_ME.shape[1]]]
        elif per_class:
            labels_n = images.labels_A[new_n]
            candidates = Candidates.of(labels_n, images.old, learner.network.classifier.classes - images.old)
            picks = herding(images.embed(new_n).features_MND, candidates, per_class)
            chosen_Mn = new_n[kept_only(picks, candidates)]
        else:
            chosen_Mn = new_n[:0].expand(learner.members, 0)
        learner.method_state["balanced_Mn"] = chosen_Mn

    def terms(self, step: Step, sizes: tuple[int, ...]) -> Terms:
        """Cross-entropy, and the distillation of the first tasks, of ``sizes`` classes."""
        terms = {"ce": cross_entropy(step.logits_MBK, step.labels_MB)}
        if step.teacher_MBK is not None and sizes:
            T_M = step.task.hyperparameters["temperature"]
            distilled_M = headwise_bce(step.logits_MBK, step.teacher_MBK, sizes, T_M)
            terms["kd"] = step.task.hyperparameters["lambda"] * distilled_M
        return terms


def _balanced(method_state: Mapping[str, Tensor], images: TaskImages) -> Tensor:
    """Exemplars, and the new images that were chosen when the first stage ended."""
    return torch.cat([images.exemplars_ME, method_state["balanced_Mn"]], dim=1)
