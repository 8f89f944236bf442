"""UPCL: features are drawn to fixed orthonormal prototypes, one a class, by a softmax that knows the class counts.

There is no trained classifier. New classes get random vectors orthogonal to all earlier ones; which of them belongs to
which class is settled while training, by the classes' running means. A contrastive loss, weaker with each task, draws
images of a class together, and old classes' softened answers are distilled. The network can hold as many classes as it
has features: ResNet-32 has 64.

The equations are those of the released code, on what it calls iCaRL. The numbers of epochs, learning rates, networks
and memories of the published runs were not found; in the code a run goes back to the epoch with the best test accuracy,
which is not done here. Published runs have balanced data.
"""

from collections.abc import Mapping
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.distill.features import cosine_distance
from trainer.losses.contrastive import supervised_contrast
from trainer.losses.cross_entropy import cross_entropy, log_prior
from trainer.methods.base import Method, distillation_weight, hyperparameter
from trainer.nets.heads import PrototypeHead
from trainer.nets.network import Outputs
from trainer.stages.learner import Learner
from trainer.stages.matching import matched
from trainer.stages.nearest_mean import keep_exemplar_means, nearest_mean_scores
from trainer.stages.stage import Stage, Step, TaskContext, TaskImages, Terms

CENTROIDS, SEEN = "centroids_MKD", "centroid_seen_MK"
"""buffers: running means of the classes' features, of length 1; 1 where a class has been in a batch"""


class Upcl(Method):
    paper = "Wang et al., uniform prototype contrastive learning, 2024 (arXiv 2405.15157), by its code"
    needs_teacher = True
    differences = (
        "The released code settles which prototype belongs to which class in every step; here it is settled after "
        "every epoch, as the host waits for the device each time.",
        "The released code begins the loss of the prototypes after 51 epochs of every task; here after a part of the "
        "epochs (`prototypes_from`).",
        "In the released code a model that is moved to another device forgets which prototype belongs to which class; "
        "here it is part of the prototypes' order.",
        "The released code can have fixed margins in place of the class counts (a negative `rho`); here it cannot.",
    )

    tau: float = hyperparameter(0.07, per_member=True, gt=0, le=10)
    """temperature of the prototypes' softmax and of the contrastive loss"""
    rho: float = hyperparameter(1.0, per_member=True, gt=0, le=10)
    """factor of the log of the class counts in the prototypes' softmax"""
    prototypes_from: float = hyperparameter(0.3, ge=0, lt=1)
    """part of a task's epochs that is trained without the prototypes' loss (51 of 170)"""
    contrast: float = hyperparameter(1.0, per_member=True, ge=0, le=100)
    """weight of the contrastive loss in the first task"""
    fade: float = hyperparameter(0.5, per_member=True, first_task=1, ge=0, le=1)
    """factor of that weight from task to task"""
    lambda_: float = distillation_weight(0.5)
    """weight of the distillation, on top of its m / K"""
    temperature: float = hyperparameter(4.0, per_member=True, first_task=1, gt=0, le=100)
    """temperature that softens teacher and student"""
    distils: Literal["logits", "features"] = hyperparameter("logits", first_task=1)
    """what is distilled: cosines to the prototypes, or the direction of features"""
    matching: Literal["new", "all", "none"] = hyperparameter("new")
    """which classes exchange their prototypes with each other"""
    centroid_momentum: float = hyperparameter(0.9, per_member=True, ge=0, lt=1)
    """part of a class's running mean that is left after a step with images of it"""

    def parts(self, members: int, features: int) -> dict[str, nn.Module]:
        return {"head": PrototypeHead(members, features)}

    def most_classes(self, features: int) -> int | None:
        return features

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        buffers = {SEEN: task.continued_MK(SEEN), "tau_M": task.hyperparameters["tau"].clone()}
        return (
            Stage(
                "train",
                task.optim,
                partial(self.terms, log_prior_K=log_prior(task.kept_K).to(task.dtype)),
                buffers=buffers,
                trains=("net.",),
                prepare=partial(_begin_centroids, task, buffers),
                after_epoch=None
                if self.matching == "none"
                else partial(_match, task.old if self.matching == "new" else 0),
            ),
        )

    def terms(self, step: Step, log_prior_K: Tensor) -> Terms:
        task, hyperparameters = step.task, step.task.hyperparameters
        features_MBD, share = F.normalize(step.features_MBD, dim=2), task.old / task.seen
        update_centroids(step, features_MBD.detach(), hyperparameters["centroid_momentum"])
        tau_M, terms = hyperparameters["tau"], {}
        if step.epoch >= int(self.prototypes_from * task.optim.epochs):
            prior_MK = hyperparameters["rho"][:, None] * log_prior_K
            z_MBK = step.logits_MBK / tau_M[:, None, None]
            terms["prototypes"] = (1 - share) * cross_entropy(z_MBK, step.labels_MB, prior_MK)
        faded_M = hyperparameters["contrast"] * hyperparameters["fade"] ** task.index
        terms["contrast"] = (1 - share) * faded_M * supervised_contrast(features_MBD, step.labels_MB, tau_M)
        if step.out.teacher is not None:
            terms["kd"] = hyperparameters["lambda"] * share * self._distilled(step, step.out.teacher)
        return terms

    def _distilled(self, step: Step, teacher: Outputs) -> Tensor:
        if self.distils == "features":
            return cosine_distance(step.features_MBD, teacher.features_MBD)
        T_M = step.task.hyperparameters["temperature"]
        student, target = (
            (z_MBK[..., : step.task.old] / T_M[:, None, None]).log_softmax(2)
            for z_MBK in (step.logits_MBK, teacher.logits_MBK)
        )
        return T_M**2 * (target.exp() * (target - student)).sum(2).mean(1)

    def after_task(self, learner: Learner, images: TaskImages) -> None:
        keep_exemplar_means(learner, images)

    def probabilities(self, scores_MNK: Tensor, method_state: Mapping[str, Tensor]) -> Tensor | None:
        """At the temperature of the training."""
        return (scores_MNK / method_state["tau_M"][:, None, None]).softmax(2)

    def auxiliary_scores(self, out: Outputs, method_state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return nearest_mean_scores(out, method_state)


def _begin_centroids(task: TaskContext, buffers: dict[str, Tensor], learner: Learner, images: TaskImages) -> None:
    """Running means of old classes go on; those of new ones are their prototypes until a batch has them."""
    buffers[CENTROIDS] = learner.network.classifier.weight_MKD.detach().clone()
    if CENTROIDS in learner.method_state:
        buffers[CENTROIDS][:, : task.old] = learner.method_state[CENTROIDS]


def update_centroids(step: Step, features_MBD: Tensor, momentum_M: Tensor) -> None:
    """Take a batch's class means in: the first one as it is, later ones by the momentum; then to length 1."""
    centroids_MKD, seen_MK = step.buffers[CENTROIDS], step.buffers[SEEN]
    class_MKB = F.one_hot(step.labels_MB, step.task.seen).transpose(1, 2).to(features_MBD)
    counts_MK1 = class_MKB.sum(2, keepdim=True)
    means_MKD = class_MKB @ features_MBD / counts_MK1.clamp_min(1)
    kept_MK1 = (momentum_M[:, None] * seen_MK).unsqueeze(2)
    moved_MKD = F.normalize(kept_MK1 * centroids_MKD + (1 - kept_MK1) * means_MKD, dim=2)
    centroids_MKD.copy_(torch.where(counts_MK1 > 0, moved_MKD, centroids_MKD))
    seen_MK.copy_(torch.where(counts_MK1.squeeze(2) > 0, 1, seen_MK))


@torch.no_grad()
def _match(first: int, learner: Learner, buffers: Mapping[str, Tensor]) -> None:
    """Give each class from ``first`` on the prototype that is best for all of them together."""
    prototypes_McD = learner.network.classifier.weight_MKD[:, first:]
    centroids_McD = buffers[CENTROIDS][:, first:]
    chosen_Mc = matched(centroids_McD @ prototypes_McD.transpose(1, 2))
    prototypes_McD.copy_(prototypes_McD.gather(1, chosen_Mc.unsqueeze(2).expand_as(prototypes_McD)))
