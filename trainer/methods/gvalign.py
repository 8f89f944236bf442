"""GVAlign: mixup while training, then the classifier alone is trained on features drawn around the class means.

The host is LUCIR. Each batch is followed by itself, blended. When the stage ends, features of every class are drawn
from a normal distribution around the class's mean, all classes with the covariance of the one that had most images in
the first task; the rows of all classes and the scale of the cosines learn from them. That covariance is kept as the
centred features that it is the mean product of: draws are exact, whether or not a class has more images than features.

The released code trains CIFAR-100 for 500 epochs with milestones 250, 350 and 450, where the results of Long-Tailed CIL
that it is compared with have 160. `align_steps: 0` is the host with mixup alone. PODNet, its other host, is not one
here.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.losses.class_weights import weighted_mean
from trainer.losses.cross_entropy import image_cross_entropy
from trainer.methods.base import ChoosesLoss, Rebalanced, blended_loss, hyperparameter, stepped
from trainer.nets.heads import Head
from trainer.stages.learner import Learner
from trainer.stages.optim import OptimConfig
from trainer.stages.stage import Stage, Step, TaskContext, TaskImages, Terms, new_and_exemplars


class GVAlign(Rebalanced, ChoosesLoss):
    paper = (
        "Kalla & Biswas, Robust Feature Learning and Global Variance-Driven Classifier Alignment for Long-Tail Class "
        "Incremental Learning, WACV 2024, on LUCIR"
    )
    differences = (
        "The released code takes class means and the covariance from augmented training images; here they are taken "
        "from the same images without augmentation.",
        "On ImageNet the released code divides the learning rate of the alignment by 10 after 30 and 60 steps; here, "
        "as on CIFAR, it is constant.",
    )

    mixup: bool = hyperparameter(True)
    """each batch is followed by itself blended, whose loss is added"""
    align_steps: int = hyperparameter(100, ge=0, le=100_000)
    """steps of the alignment, each on one feature of every class"""
    align_lr: float = hyperparameter(0.1, gt=0, le=10)
    """learning rate of the alignment, constant; momentum and weight decay are those of `optim`"""

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        chosen = self.chosen(task)

        def loss(step: Step) -> Terms:
            now = chosen(step)
            mixed = {"mixup": blended_loss(now, step)} if self.mixup else {}
            return {self.loss_: stepped(now, step), **mixed, **self.distances(step)}

        return (Stage("train", task.optim, loss, mixup=self.mixup, frozen_rows=task.old),)

    def after_stage(self, stage: Stage, learner: Learner, images: TaskImages) -> None:
        if stage.name != "train":
            return
        pool_MN = new_and_exemplars(images)
        features_MND = F.normalize(images.embed(pool_MN).features_MND, dim=2)
        labels_MN = images.labels_A[pool_MN]
        if images.old == 0:
            learner.method_state["spread_MnD"] = spread(features_MND, labels_MN[0])
        head, generators = learner.network.classifier, images.streams.generators("alignment")

        def noise(*shape: int) -> Tensor:
            drawn = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
            return drawn.to(learner.device, learner.dtype)

        class_MNK = F.one_hot(labels_MN, head.classes).to(features_MND)
        optim = stage.optim.model_copy(update={"lr": self.align_lr})
        align(head, features_MND, class_MNK, learner.method_state["spread_MnD"], noise, self.align_steps, optim)


def spread(features_MND: Tensor, labels_N: Tensor) -> Tensor:
    """Of the class with most images, centred features over sqrt(n - 1), ``[M, n, D]``: ``X^T X`` is the covariance."""
    own_MnD = features_MND[:, labels_N == torch.bincount(labels_N).argmax()]
    return (own_MnD - own_MnD.mean(1, keepdim=True)) / math.sqrt(max(own_MnD.shape[1] - 1, 1))


def align(
    head: Head,
    features_MND: Tensor,
    class_MNK: Tensor,
    spread_MnD: Tensor,
    noise: Callable[..., Tensor],
    steps: int,
    optim: OptimConfig,
) -> None:
    """Train the head for some steps, each on one feature of every class, drawn around the mean of ``features_MND``.

    ``class_MNK``: 1 for the class of each feature; a class without features is left out. ``noise(K, n)``: standard
    normal, ``[M, K, n]``. ``optim``: its rate, momentum and weight decay.
    """
    counts_MK = class_MNK.sum(1)
    means_MKD = class_MNK.transpose(1, 2) @ features_MND / counts_MK.clamp_min(1).unsqueeze(2)
    present_MK = (counts_MK > 0).to(means_MKD)
    labels_MK = torch.arange(head.classes, device=means_MKD.device).expand(len(means_MKD), -1)
    parameters = list(head.parameters())
    momenta = [torch.zeros_like(parameter) for parameter in parameters]
    for _ in range(steps):
        drawn_MKD = means_MKD + noise(head.classes, spread_MnD.shape[1]) @ spread_MnD
        loss_M = weighted_mean(image_cross_entropy(head(drawn_MKD), labels_MK), present_MK)
        grads = torch.autograd.grad(loss_M.sum(), parameters)
        with torch.no_grad():
            for parameter, momentum, grad in zip(parameters, momenta, grads, strict=True):
                momentum.mul_(optim.momentum).add_(grad + optim.weight_decay * parameter)
                parameter.sub_(optim.lr * momentum)
