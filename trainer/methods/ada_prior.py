"""AdaPrior: balanced softmax with a prior that follows the model's own predictions, and one more at inference.

The host is LUCIR, with mixup as in the published runs. While training, the log of the running mean of predictions is
added to the logits; when a task is trained, `strength` times the log of the mean prediction on its images is taken
from them. The second acts at inference alone: one trained run has an accuracy for every strength, to be chosen on
validation images.

No code was released and the equations come from a detailed summary, not from the paper's own text. What it leaves
open is a switch here, and its default a choice of this project: the logits that the running mean is of (`prior_of`),
whether it starts anew in every task (`prior_start`), the counts that it starts from (`prior_counts`), whether blended
images enter it (`prior_blended`), and the images of the mean at inference (`posthoc_on`). How the published mixup
enters the loss is not known either: here as in `gvalign`, beside the loss of the images themselves; nor is the number
of epochs.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from trainer.losses.ada_prior import AdaPrior as AdaPriorLoss
from trainer.losses.ada_prior import log_floored
from trainer.losses.base import ClassificationLoss
from trainer.losses.ce import CrossEntropy
from trainer.methods.base import Rebalanced, blended_loss, followed, hyperparameter
from trainer.nets.network import Outputs
from trainer.stages.learner import Learner
from trainer.stages.stage import Stage, Step, TaskContext, TaskImages, Terms, new_and_exemplars


class AdaPrior(Rebalanced):
    paper = "Bhat, AdaPrior, CVPR 2026, by a summary of it, on LUCIR"

    mode: Literal["full", "loss", "posthoc"] = hyperparameter("full")
    """both priors, that of the loss alone, or that of inference alone after cross-entropy"""
    rate: float = hyperparameter(0.05, per_member=True, ge=0, le=1)
    """part of the running mean that a step renews (gamma)"""
    strength: float = hyperparameter(0.65, per_member=True, ge=0, le=10)
    """factor of the log prior at inference (alpha)"""
    mixup: bool = hyperparameter(True)
    """each batch is followed by itself blended, whose loss is added"""
    prior_of: Literal["plain", "adjusted"] = hyperparameter("plain")
    """the running mean is of the softmax without the prior, or with it"""
    prior_start: Literal["task", "old"] = hyperparameter("task", first_task=1)
    """the running mean starts at the class frequencies in every task, or old classes' shares go on from the last one"""
    prior_counts: Literal["kept", "all"] = hyperparameter("kept", first_task=1)
    """class frequencies of old classes: of their exemplars, or of all images that they had"""
    prior_blended: bool = hyperparameter(False)
    """the running mean is of blended images too"""
    posthoc_on: Literal["all", "new"] = hyperparameter("all", first_task=1)
    """the mean at inference is of new images and exemplars, or of new ones alone; without augmentation"""

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        rate_M, strength_M = task.hyperparameters["rate"], task.hyperparameters["strength"]
        counts_K = task.kept_K if self.prior_counts == "kept" else task.counts_K
        adapting = AdaPriorLoss(self._start(task, counts_K), rate_M, self.prior_of == "adjusted")
        classification: ClassificationLoss = CrossEntropy() if self.mode == "posthoc" else adapting
        in_step = followed(classification, "prior", task)

        def loss(step: Step) -> Terms:
            now = in_step(step)
            terms = {"ce": now(step.logits_MBK, step.labels_MB)}
            if step.blended is not None:
                terms["mixup"] = blended_loss(now, step)
            if isinstance(now, AdaPriorLoss):
                now.update(self._predicted(step).detach(), step.labels_MB)
            return {**terms, **self.distances(step)}

        buffers = {"strength_M": strength_M.clone()}
        return (Stage("train", task.optim, loss, buffers=buffers, mixup=self.mixup, frozen_rows=task.old),)

    def _start(self, task: TaskContext, counts_K: Tensor) -> Tensor:
        """What the running mean begins with, ``[M, K]``."""
        frequency_MK = (counts_K / counts_K.sum()).to(task.dtype).repeat(task.members, 1)
        if self.prior_start == "task" or "prior_MK" not in task.method_state:
            return frequency_MK
        # Old classes share what is theirs by frequency as they did.
        old_MK = task.continued_MK("prior_MK")
        old_share_M1 = frequency_MK[:, : task.old].sum(1, keepdim=True)
        frequency_MK[:, : task.old] = old_share_M1 * old_MK[:, : task.old] / old_MK.sum(1, keepdim=True)
        return frequency_MK

    def _predicted(self, step: Step) -> Tensor:
        """Logits of the images that enter the running mean."""
        if step.blended is None or not self.prior_blended:
            return step.logits_MBK
        return torch.cat([step.logits_MBK, step.blended.logits_MBK], dim=1)

    def after_stage(self, stage: Stage, learner: Learner, images: TaskImages) -> None:
        """The mean prediction of the classifier as the stage leaves it."""
        pool_MN = images.new_N.expand(learner.members, -1) if self.posthoc_on == "new" else new_and_exemplars(images)
        learner.method_state["posthoc_MK"] = log_floored(images.embed(pool_MN).logits_MNK.softmax(2).mean(1))

    def classify(self, out: Outputs, method_state: Mapping[str, Tensor]) -> Tensor:
        if self.mode == "loss":
            return out.logits_MBK
        log_prior_MK = method_state["strength_M"][:, None] * method_state["posthoc_MK"]
        return out.logits_MBK - log_prior_MK.unsqueeze(1)

    def auxiliary_scores(self, out: Outputs, method_state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {} if self.mode == "loss" else {"logits": out.logits_MBK}
