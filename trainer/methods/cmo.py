"""Context-rich minority over-sampling: rare classes' images are pasted into those of frequent ones.

Where the loss has class weights, both labels' parts are divided by one sum of weights, so that the box alone decides
their shares; the released code divides each by its own.
"""

from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor

from trainer.data.mix import BoxMix
from trainer.losses.class_weights import deferral, effective_number_weights, of_labels
from trainer.losses.cross_entropy import image_cross_entropy, log_prior
from trainer.losses.mixed_labels import Weighted, mixed_labels
from trainer.methods.base import Method, hyperparameter
from trainer.stages.stage import Stage, Step, TaskContext, Terms


class ContextRichOverSampling(Method):
    paper: ClassVar[str] = (
        "Park et al., The Majority Can Help the Minority: Context-rich Minority Oversampling for Long-tailed "
        "Classification, CVPR 2022"
    )

    base_loss: Literal["ce", "drw", "balanced"] = hyperparameter(
        "ce", "cross-entropy, the same with deferred class weights, or balanced softmax"
    )
    mix_probability: float = hyperparameter(0.5, "that a batch is mixed", per_member=True, ge=0, le=1)
    power: float = hyperparameter(1.0, "an image of class k is pasted with probability ~ 1 / n_k**power", ge=0, le=4)
    unmixed_first: int | None = hyperparameter(
        None, "epochs before the first that is mixed; null: 4 of 200, and of fewer in proportion", ge=0
    )
    unmixed_last: int | None = hyperparameter(
        None, "epochs behind the last that is mixed; null: 3 of 200, and of fewer in proportion", ge=0
    )

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        epochs = task.optim.epochs
        first = 4 * epochs // 200 if self.unmixed_first is None else self.unmixed_first
        last = 3 * epochs // 200 if self.unmixed_last is None else self.unmixed_last
        mix = BoxMix(task.hyperparameters["mix_probability"], first, epochs - last, self.power)
        ones_MK = task.zeros_MK() + 1
        beta_M = 0.9999 * torch.ones_like(task.hyperparameters["mix_probability"])
        deferred_MK = effective_number_weights(task.kept_K, beta_M).to(task.dtype)
        prior_K = log_prior(task.kept_K).to(task.dtype) if self.base_loss == "balanced" else ones_MK[0] * 0
        loss = partial(
            self.mixed,
            prior_K=prior_K,
            weights_MK=deferred_MK if self.base_loss == "drw" else ones_MK,
            start=deferral(task.optim.milestones, epochs),
        )
        return (Stage("train", task.optim, loss, mix=mix),)

    def mixed(self, step: Step, prior_K: Tensor, weights_MK: Tensor, start: int) -> Terms:
        weights_MK = weights_MK if step.epoch >= start else torch.ones_like(weights_MK)
        logits_MBK = step.logits_MBK + prior_K

        def loss(labels_MB: Tensor) -> Weighted:
            return Weighted(image_cross_entropy(logits_MBK, labels_MB), of_labels(weights_MK, labels_MB))

        pasted = None if step.partner_MB is None else loss(step.partner_MB)
        return {"ce": mixed_labels(loss(step.labels_MB), pasted, step.share_M)}
