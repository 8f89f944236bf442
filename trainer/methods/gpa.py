"""GPA: new rows of the classifier start at class means of the old network's features, and are anchored to the means.

Before the first step each new class's row becomes the direction of the mean of its features, as the network of the last
task sees them. While training, the distance between those rows and the classes' running means is added to the loss; the
rows of old classes stand still. The first task has no network before it and is the host's own.

The official code could not be had, nor the supplement. Constants and choices that the paper leaves open are fields, and
their defaults are this project's: `reference` and `epsilon` of a linear head's biases (Eq. 4); `momentum`, by step, and
`through_means` of the running mean; `reduction`, for which the paper has two readings that differ by the number of
new classes times that of features (Eq. 5 and Algorithm 1), so that the published 0.15 may mean either; and `anchored`.
Of its hosts, LUCIR is one here, and finetuning takes the place of those with linear heads; PODNet and gradient
reweighting are none.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.methods.base import ChoosesLoss, Rebalanced, hyperparameter
from trainer.nets.heads import LinearHead
from trainer.stages.learner import Learner
from trainer.stages.stage import Stage, Step, TaskContext, TaskImages, Terms

MEANS = "means_McD"
"""the buffer of new classes' running means"""


class Gpa(Rebalanced, ChoosesLoss):
    paper = "Lai et al., geometric prototype alignment, ICCV 2025, on LUCIR"

    host: Literal["cosine", "linear"] = hyperparameter("cosine")
    """LUCIR with its cosines and terms, or finetuning of a linear head with biases, without these terms"""
    imprint: bool = hyperparameter(True, first_task=1)
    """new rows start at the class means; else at random, as the host's"""
    anchor: float = hyperparameter(0.15, per_member=True, first_task=1, ge=0, le=1000)
    """weight of the distance between new rows and running means (lambda)"""
    reduction: Literal["sum", "mean"] = hyperparameter("sum", first_task=1)
    """that distance is a sum over new classes and features, or their mean"""
    anchored: Literal["rows", "directions"] = hyperparameter("rows", first_task=1)
    """what is near the means: rows, which thereby have about norm 1, or their directions"""
    momentum: float = hyperparameter(0.9, per_member=True, first_task=1, ge=0, lt=1)
    """part of a running mean that is left after a step with images of its class"""
    through_means: bool = hyperparameter(False, first_task=1)
    """the network too learns from that distance, through the features of the step"""
    reference: Literal["largest", "mean"] = hyperparameter("largest", first_task=1)
    """linear: images of the new class with most, or of the mean one, by which those of a class are divided"""
    epsilon: float = hyperparameter(1e-6, first_task=1, gt=0, le=1)
    """linear: what is added to that ratio, whose negative log is the first bias of a new class"""

    def parts(self, members: int, features: int) -> dict[str, nn.Module]:
        return super().parts(members, features) if self.host == "cosine" else {"head": LinearHead(members, features)}

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        loss = partial(self.terms, classification=self.task_loss(task))
        if task.old == 0:
            return (Stage("train", task.optim, loss),)
        buffers: dict[str, Tensor] = {}
        prepare = partial(self._begin, task, buffers)
        return (Stage("train", task.optim, loss, buffers=buffers, frozen_rows=task.old, prepare=prepare),)

    def terms(self, step: Step, classification: Callable[[Step], Terms]) -> Terms:
        terms = classification(step)
        if self.host == "cosine":
            terms |= self.distances(step)
        if step.task.old:
            means_McD = self._means(step)
            step.buffers[MEANS].copy_(means_McD.detach())
            rows_McD = step.head.weight_MKD[:, step.task.old :]
            if self.anchored == "directions":
                rows_McD = F.normalize(rows_McD, dim=2)
            terms["anchor"] = step.task.hyperparameters["anchor"] * anchor(rows_McD, means_McD, self.reduction)
        return terms

    def _means(self, step: Step) -> Tensor:
        features_MBD = step.features_MBD if self.through_means else step.features_MBD.detach()
        momentum_M = step.task.hyperparameters["momentum"]
        return running_means(step.buffers[MEANS], features_MBD, step.labels_MB - step.task.old, momentum_M)

    @torch.no_grad()
    def _begin(self, task: TaskContext, buffers: dict[str, Tensor], learner: Learner, images: TaskImages) -> None:
        """Eq. 3 and 4: means of the features of the network as the last task has left it."""
        labels_N = images.labels_A[images.new_N] - task.old
        class_cN = F.one_hot(labels_N, task.new).T.to(learner.dtype)
        means_McD = class_cN @ images.embed(images.new_N).features_MND / class_cN.sum(1)[:, None]
        buffers[MEANS] = F.normalize(means_McD, dim=2)
        if not self.imprint:
            return
        head = learner.network.classifier
        head.weight_MKD[:, task.old :] = buffers[MEANS]
        if isinstance(head, LinearHead):
            head.bias_MK[:, task.old :] = self.first_biases(task.kept_K[task.old :])

    def first_biases(self, counts_c: Tensor) -> Tensor:
        """Eq. 4: rare classes begin with large ones, ``[c]``."""
        reference = counts_c.max() if self.reference == "largest" else counts_c.mean()
        return -(counts_c / reference + self.epsilon).log()


def running_means(means_McD: Tensor, features_MBD: Tensor, labels_MB: Tensor, momentum_M: Tensor) -> Tensor:
    """Running means of each class's normalised features after a batch; those of classes it lacks stay. ``[M, c, D]``.

    ``labels_MB``: of classes ``0 .. c - 1``; images with others, below 0, are passed over.
    """
    classes = means_McD.shape[1]
    own_MBc = labels_MB.unsqueeze(2) == torch.arange(classes, device=labels_MB.device)
    class_McB = own_MBc.transpose(1, 2).to(features_MBD)
    counts_Mc1 = class_McB.sum(2, keepdim=True)
    batch_McD = class_McB @ F.normalize(features_MBD, dim=2) / counts_Mc1.clamp_min(1)
    return means_McD + (1 - momentum_M)[:, None, None] * (counts_Mc1 > 0) * (batch_McD - means_McD)


def anchor(rows_McD: Tensor, means_McD: Tensor, reduction: Literal["sum", "mean"]) -> Tensor:
    """Eq. 5: squared distances between rows and the means' directions, ``[M]``."""
    squares_McD = (rows_McD - F.normalize(means_McD, dim=2)).square()
    return squares_McD.sum((1, 2)) if reduction == "sum" else squares_McD.mean((1, 2))
