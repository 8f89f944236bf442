"""MAF-DRC: the model adapts to the new classes alone, then old and adapted model are fused; two branches share a head.

On the backbone's last map stand two affine branches, an old one that does not learn and a new one; the logits are the
sum of what the shared classifier makes of either. When a task begins, the old branch takes in the new one. Where the
released code does what its paper does not ask for, or has two forms, a switch chooses.
"""

import math
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from trainer.distill.features import pooled_distance
from trainer.distill.kd import kd
from trainer.losses.cross_entropy import cross_entropy, image_cross_entropy
from trainer.methods.base import Method, distillation_temperature, hyperparameter
from trainer.nets.member import MemberBatchNorm2d, member_pool
from trainer.nets.network import Network, Outputs
from trainer.stages.learner import TEACHER, Learner
from trainer.stages.optim import OptimConfig, learning_rate, rescheduled
from trainer.stages.stage import Stage, Step, TaskContext, TaskImages, Terms, new_only

ADAPTED = "adapted"
"""the frozen network that has adapted to the new classes"""
_LEARNS = ("net.", "head.", "branch_new.")


class MafDrc(Method):
    paper = (
        "Chen & Chang, Dynamic Residual Classifier for Class Incremental Learning (with model adaptation and fusion), "
        "ICCV 2023"
    )
    needs_teacher = True
    differences = (
        "In the released code weight decay shrinks the old branch's factors during the first task, to 0.81 on "
        "CIFAR100-LT LFS10 and 0.21 on LFH, and so they enter the first teacher (`first_teacher: decayed`); here they "
        "are still 1.",
    )

    alpha: float = hyperparameter(0.2, per_member=True, first_task=1, ge=0, le=1)
    """part of the branches' own cross-entropy in the fusion's"""
    beta_old: float = hyperparameter(4.0, per_member=True, first_task=1, ge=0, le=100)
    """weight of the distillation of the old model"""
    beta_new: float = hyperparameter(1.0, per_member=True, first_task=1, ge=0, le=100)
    """weight of the distillation of the adapted model"""
    temperature: float = distillation_temperature()
    tau: float = hyperparameter(1.2, per_member=True, first_task=1, ge=0, le=10)
    """power of the class frequencies whose log is added to the logits"""
    adapt_epochs: float = hyperparameter(0.4375, first_task=1, gt=0, le=10)
    """epochs of the adaptation, as a part of those of a task (70 of 160)"""
    fuse_epochs: float = hyperparameter(0.8125, first_task=1, gt=0, le=10)
    """epochs of the fusion, as a part of those of a task (130 of 160)"""
    start: Literal["adapted", "old"] = hyperparameter("adapted", first_task=1)
    """whose backbone and classifier the fusion starts from (CIFAR, ImageNet)"""
    first_teacher: Literal["sum", "decayed", "new"] = hyperparameter("sum", first_task=1)
    """what the model of the first task teaches: both branches, though the old one never learnt; the same with the
    factors of the old one as weight decay would have left them (released code); or the new one alone, by which it
    classifies"""
    maps: float = hyperparameter(0.0, first_task=1, ge=0, le=100)
    """weight of the distance to the old model's pooled maps, times sqrt(classes / new classes); the code has 5 where
    half of the classes come first"""

    def parts(self, members: int, features: int) -> dict[str, nn.Module]:
        branches = {name: MemberBatchNorm2d(members, features) for name in ("branch_old", "branch_new")}
        return {**super().parts(members, features), **branches}

    def outputs(self, network: Network, images: Tensor) -> Outputs:
        maps = network.embed(images)
        with torch.autocast(images.device.type, enabled=False):
            last = maps.last.to(maps.features_MBD.dtype)
            old_MBK, new_MBK = (
                network.classifier(member_pool(network.get_submodule(branch)(last), network.members))
                for branch in ("branch_old", "branch_new")
            )
        return Outputs(maps.features_MBD, old_MBK + new_MBK, maps, extra={"old": old_MBK, "new": new_MBK})

    def evaluate(self, learner: Learner, images: Tensor) -> Outputs:
        out = self.outputs(learner.network, images)
        return out if ADAPTED in learner.frozen else _new_alone(out)

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        if task.old == 0:
            return (Stage("train", task.optim, self.loss, forward=self.evaluate, trains=_LEARNS),)
        adapt = Stage(
            "adapt",
            rescheduled(task.optim, self.adapt_epochs, schedule="cosine"),
            _adaptation_loss,
            forward=lambda learner, images: self.outputs(learner.network, images),
            pool=new_only,
            trains=_LEARNS,
            prepare=partial(_merge_branches, task),
        )
        share_K = task.kept_K / task.kept_K.sum()
        prior_MK = (share_K ** task.hyperparameters["tau"][:, None] + 1e-12).log().to(task.dtype)
        fuse = Stage(
            "fuse",
            rescheduled(task.optim, self.fuse_epochs, schedule="cosine", weight_decay=0.0),
            partial(self.fusion_loss, prior_MK=prior_MK),
            forward=partial(self._fusing, task),
            trains=_LEARNS,
            prepare=partial(self._start_fusion, task),
        )
        return (adapt, fuse)

    def fusion_loss(self, step: Step, prior_MK: Tensor) -> Terms:
        """All but the branches' own cross-entropy see the logits with the prior."""
        assert step.teacher_MBK is not None
        m, extra, hyperparameters = step.task.old, step.out.extra, step.task.hyperparameters
        alpha_M, T_M = hyperparameters["alpha"], hyperparameters["temperature"]
        z_MBK = step.logits_MBK + prior_MK.unsqueeze(1)
        terms = {
            "ce": (1 - alpha_M) * cross_entropy(z_MBK, step.labels_MB),
            "branches": alpha_M * branch_cross_entropy(extra["old"], extra["new"], step.labels_MB, m),
            "kd_old": hyperparameters["beta_old"] * kd(z_MBK[..., :m], step.teacher_MBK, T_M),
            "kd_new": hyperparameters["beta_new"] * kd(z_MBK[..., m:], extra[ADAPTED][..., m:], T_M),
        }
        if self.maps > 0:
            assert step.out.teacher is not None
            own, old = step.out.maps.stage_outputs, step.out.teacher.maps.stage_outputs
            weight = self.maps * (step.task.seen / step.task.new) ** 0.5
            terms["maps"] = weight * pooled_distance(own, old, step.task.members)
        return terms

    def _fusing(self, task: TaskContext, learner: Learner, images: Tensor) -> Outputs:
        with torch.no_grad():
            old, adapted = (self.outputs(learner.frozen[name], images) for name in (TEACHER, ADAPTED))
        if task.index == 1 and self.first_teacher == "new":
            old = _new_alone(old)
        out = self.outputs(learner.network, images)
        return out._replace(teacher=old, extra={**out.extra, ADAPTED: adapted.logits_MBK})

    @torch.no_grad()
    def _start_fusion(self, task: TaskContext, learner: Learner, images: TaskImages) -> None:
        learner.frozen[ADAPTED] = learner.network.frozen()
        if task.index == 1 and self.first_teacher == "decayed":
            steps = math.ceil(int(task.counts_K[: task.old].sum()) / task.optim.batch_size)
            learner.frozen[TEACHER].get_parameter("branch_old.weight").mul_(decayed(task.optim, steps))
        if self.start == "old":
            learner.network.take(learner.frozen[TEACHER], "net", "head")
            learner.network.classifier.grow(task.new, learner.seeds, task.index)


def decayed(optim: OptimConfig, steps: int) -> float:
    """What weight decay leaves of a weight of 1 without a gradient, after epochs of so many steps."""
    weight, momentum = 1.0, 0.0
    for epoch in range(optim.epochs):
        lr = learning_rate(optim, epoch)
        for _ in range(steps):
            momentum = optim.momentum * momentum + optim.weight_decay * weight
            weight -= lr * momentum
    return weight


def branch_cross_entropy(old_MBK: Tensor, new_MBK: Tensor, labels_MB: Tensor, old: int) -> Tensor:
    """Cross-entropy of the old branch on images of old classes and of the new one on all; mean over both: ``[M]``."""
    old_MB = (labels_MB < old).to(old_MBK)
    total_M = (old_MB * image_cross_entropy(old_MBK, labels_MB) + image_cross_entropy(new_MBK, labels_MB)).sum(1)
    return total_M / (old_MB.sum(1) + labels_MB.shape[1])


def _adaptation_loss(step: Step) -> Terms:
    """Among new classes alone."""
    return {"ce": cross_entropy(step.logits_MBK[..., step.task.old :], step.labels_MB - step.task.old)}


@torch.no_grad()
def _merge_branches(task: TaskContext, learner: Learner, images: TaskImages) -> None:
    """The old branch becomes the mean of both, but for running statistics; at first the new one, as it never learnt."""
    old, new = (learner.network.get_submodule(name) for name in ("branch_old", "branch_new"))
    for own, other in zip(old.parameters(), new.parameters(), strict=True):
        own.copy_(other if task.index == 1 else (own + other) / 2)


def _new_alone(out: Outputs) -> Outputs:
    return out._replace(logits_MBK=out.extra["new"])
