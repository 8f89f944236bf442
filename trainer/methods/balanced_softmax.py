"""Balanced softmax: cross-entropy whose softmax knows how many images each class has; classification does not.

Without the meta-sampler, augmentation and schedule of its paper. The counts are those of the images at hand, old
classes by their exemplars; a class without any is left out of the softmax.
"""

from collections.abc import Callable

from trainer.losses.cross_entropy import cross_entropy, log_prior
from trainer.methods.base import Method, hyperparameter
from trainer.stages.stage import Step, TaskContext, Terms


class BalancedSoftmax(Method):
    paper = (
        "Ren et al., Balanced Meta-Softmax for Long-Tailed Visual Recognition, NeurIPS 2020, without its meta-sampler; "
        "other strengths: Menon et al., Long-tail learning via logit adjustment, ICLR 2021"
    )

    tau: float = hyperparameter(1.0, per_member=True, gt=0, le=10)
    """strength of the log prior"""

    def task_loss(self, task: TaskContext) -> Callable[[Step], Terms]:
        prior_MK = task.hyperparameters["tau"][:, None] * log_prior(task.kept_K).to(task.dtype)
        return lambda step: {"ce": cross_entropy(step.logits_MBK, step.labels_MB, prior_MK)}
