"""Context-rich minority over-sampling: rare classes' images are pasted into those of frequent ones."""

from collections.abc import Callable
from typing import Literal

import torch

from trainer.data.mix import BoxMix
from trainer.losses.class_weights import deferral, effective_number_weights
from trainer.losses.cross_entropy import log_prior
from trainer.losses.mixed_labels import mixed_cross_entropy
from trainer.methods.base import Method, hyperparameter
from trainer.stages.stage import Stage, Step, TaskContext, Terms


class ContextRichOverSampling(Method):
    paper = (
        "Park et al., The Majority Can Help the Minority: Context-rich Minority Oversampling for Long-tailed "
        "Classification, CVPR 2022"
    )
    differences = (
        "The released code divides each of the two labels' parts by its own sum of class weights; here both are "
        "divided by one sum, so that the box alone decides their shares.",
    )

    base_loss: Literal["ce", "drw", "balanced"] = hyperparameter("ce")
    """cross-entropy, the same with deferred class weights, or balanced softmax"""
    mix_probability: float = hyperparameter(0.5, per_member=True, ge=0, le=1)
    """that a batch is mixed"""
    power: float = hyperparameter(1.0, ge=0, le=4)
    """an image of class k is pasted with probability ~ 1 / n_k**power"""
    unmixed_first: int | None = hyperparameter(None, ge=0)
    """epochs before the first that is mixed; null: 4 of 200, and of fewer in proportion"""
    unmixed_last: int | None = hyperparameter(None, ge=0)
    """epochs behind the last that is mixed; null: 3 of 200, and of fewer in proportion"""

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        epochs = task.optim.epochs
        first = 4 * epochs // 200 if self.unmixed_first is None else self.unmixed_first
        last = 3 * epochs // 200 if self.unmixed_last is None else self.unmixed_last
        mix = BoxMix(task.hyperparameters["mix_probability"], first, epochs - last, self.power)
        return (Stage("train", task.optim, self.task_loss(task), mix=mix),)

    def task_loss(self, task: TaskContext) -> Callable[[Step], Terms]:
        # Of beta 0 all weights are 1.
        beta_M = torch.full_like(task.hyperparameters["mix_probability"], 0.9999 if self.base_loss == "drw" else 0)
        deferred_MK = effective_number_weights(task.kept_K, beta_M).to(task.dtype)
        start = deferral(task.optim.milestones, task.optim.epochs)
        prior_K = log_prior(task.kept_K).to(task.dtype) if self.base_loss == "balanced" else 0

        def loss(step: Step) -> Terms:
            weights_MK = deferred_MK if step.epoch >= start else torch.ones_like(deferred_MK)
            logits_MBK = step.logits_MBK + prior_K
            return {"ce": mixed_cross_entropy(logits_MBK, step.labels_MB, weights_MK, step.partner_MB, step.share_M)}

        return loss
