"""SS-IL: batches of new images and exemplars in a fixed ratio, a softmax for either, distillation task by task.

Where the official code and that of Long-Tailed CIL (Liu et al., ECCV 2022) differ, defaults are the official code's,
but for the last batch, which is kept: small tasks have no other.
"""

from functools import partial
from typing import Literal

from trainer.data.samplers import mixed
from trainer.distill.taskwise import taskwise_kl
from trainer.losses.separated import separated_cross_entropy
from trainer.methods.base import Method, distillation_temperature, distillation_weight, hyperparameter
from trainer.stages.stage import Stage, Step, TaskContext, Terms


class SsIl(Method):
    paper = "Ahn et al., SS-IL: Separated Softmax for Incremental Learning, ICCV 2021"
    needs_teacher = True
    differences = (
        "The official code's learning rate in task t, counted from 0, is 0.1 / (t + 1); here it is `optim.lr` in "
        "every task.",
        "Long-Tailed CIL's code differs in `ce_mean`, `kd_t2` and `drop_last`.",
    )

    lambda_: float = distillation_weight()
    """weight of the distillation, a sum over tasks"""
    temperature: float = distillation_temperature()
    new_per_exemplar: float = hyperparameter(4.0, first_task=1, gt=0, le=1000)
    """new images in a batch for each exemplar; a batch has optim.batch_size new images"""
    ce_mean: Literal["images", "groups"] = hyperparameter("images", first_task=1)
    """cross-entropy is a mean over all images, or, as Long-Tailed CIL's code does, a mean over new images plus one over
    exemplars"""
    kd_t2: bool = hyperparameter(True, first_task=1)
    """multiply the distillation by the temperature squared; Long-Tailed CIL's code does not"""
    drop_last: bool = hyperparameter(False, first_task=1)
    """leave out a batch with fewer new images, as Long-Tailed CIL's code does: small tasks train nothing"""

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        if not bool(task.kept_K[: task.old].sum() > 0):
            return (Stage("train", task.optim, self.loss),)
        new = task.optim.batch_size
        old = max(1, round(new / self.new_per_exemplar))
        trains = not self.drop_last or bool(task.counts_K[task.old :].sum() >= new)
        optim = task.optim.model_copy(update={"batch_size": new + old, "epochs": task.optim.epochs if trains else 0})
        sampler = partial(mixed, old=task.old, new_a_batch=new, old_a_batch=old, drop_last=self.drop_last)
        return (Stage("train", optim, self.loss, sampler=sampler),)

    def loss(self, step: Step) -> Terms:
        if step.teacher_MBK is None:
            return super().loss(step)
        ce_M = separated_cross_entropy(step.logits_MBK, step.labels_MB, step.task.old, self.ce_mean)
        T_M = step.task.hyperparameters["temperature"]
        kd_M = taskwise_kl(step.logits_MBK[..., : step.task.old], step.teacher_MBK, step.task.sizes[:-1], T_M)
        return {"ce": ce_M, "kd": step.task.hyperparameters["lambda"] * (T_M**2 if self.kd_t2 else 1) * kd_M}
