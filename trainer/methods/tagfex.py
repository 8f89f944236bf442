"""TagFex: DER, beside a network that learns without labels, whose features each new backbone borrows by attention.

The network without labels contrasts two views of each image in every task, and is kept near what it was by a contrast
with its answers of before. From the second task on, an attention of the new backbone's map to its map classifies the
new classes, and hands over its answers to the classifier in steps where it is the better one. Backbones, classifier,
auxiliary classifier and the scaling of new rows are those of `der`. None of what is added classifies.

Published runs have balanced data, 200 epochs in the first task and 170 in others, and a batch of 128 images, which are
256 views. Where the authors' code and PyCIL differ, this is the authors'. A step costs about one backbone more than
DER's, on twice as many images.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor, nn

from trainer.losses.contrastive import view_contrast
from trainer.losses.cross_entropy import image_cross_entropy
from trainer.methods.base import ChoosesLoss, hyperparameter
from trainer.nets.correction import align_new_rows
from trainer.nets.heads import LinearHead
from trainer.nets.member import MemberBatchNorm2d, assign
from trainer.nets.network import Outputs
from trainer.nets.projection import MapAttention, MemberLinear, Projector
from trainer.nets.resnet import Maps
from trainer.stages.expansion import aux_cross_entropy, expand, on_all_features
from trainer.stages.learner import TEACHER, Learner
from trainer.stages.stage import Stage, Step, TaskContext, TaskImages, Terms

FREE = "ta"
"""the backbone that learns without labels"""
_T = 2.0
"""temperature at which answers are handed over"""


class TagFex(ChoosesLoss):
    paper = "Zheng et al., TagFex: task-agnostic guided feature expansion, CVPR 2025, by its code"
    needs_teacher = True
    grows = True
    backbones = (FREE,)
    differences = (
        "The released views are augmented by AutoAugment, Cutout and brightness too; here they are two draws of what "
        "`data` says.",
        "The authors' configuration for ResNet-32 leaves out the last batch of an epoch if it is not full, and names "
        "no number of heads; here every image is shown, and there are 8.",
        "The released heads start with Kaiming-uniform rows and zero biases; here rows are smaller by a factor of "
        "sqrt(3), and biases are drawn too.",
    )

    aux: float = hyperparameter(2.0, per_member=True, first_task=1, ge=0, le=100)
    """weight of the auxiliary classifier's cross-entropy"""
    contrast: float = hyperparameter(1.0, per_member=True, ge=0, le=100)
    """weight of the contrast of views, times the part of new classes"""
    contrast_kd: float = hyperparameter(2.0, per_member=True, first_task=1, ge=0, le=100)
    """weight of the contrast with the answers of before, times the part of old classes"""
    transfer: float = hyperparameter(1.0, per_member=True, first_task=1, ge=0, le=100)
    """weight of the attention's cross-entropy and of the handing over of its answers"""
    tau: float = hyperparameter(0.2, per_member=True, gt=0, le=10)
    """temperature of the contrasts"""
    blend: float = hyperparameter(0.05, first_task=1, ge=0, le=1)
    """part of the network without labels in the start of a new backbone; running statistics start afresh"""
    old_on_new: Literal["zero", "fresh"] = hyperparameter("zero", first_task=1)
    """weights of old classes on new features at first: 0, or, as in PyCIL, random"""
    hidden: int = hyperparameter(512, ge=1, le=65_536)
    """width of the projector's hidden layer; 2048 for ResNet-18"""
    embedding: int = hyperparameter(128, ge=1, le=65_536)
    """width of what views are contrasted by; 1024 for ResNet-18"""
    scale_rows: bool = hyperparameter(True, first_task=1)
    """scale new rows to the old ones' mean norm when a task is trained"""

    def parts(self, members: int, features: int) -> dict[str, nn.Module]:
        return {
            **super().parts(members, features),
            "aux": LinearHead(members, features, stream_name="aux"),
            "projector": Projector(members, features, self.hidden, self.embedding),
            "predictor": MemberLinear(members, features, features),
            "attention": MapAttention(members, features, heads=8),
            "transfer": MemberLinear(members, features, 0),
        }

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        classification = self.task_loss(task)
        return (
            Stage(
                "train",
                task.optim,
                partial(self.terms, classification=classification),
                forward=partial(self._training, task.old > 0),
                trains=("",) if task.old else ("net.", "head.", "projector.", f"{FREE}."),
                two_views=True,
                prepare=partial(self._begin, task),
            ),
        )

    def terms(self, step: Step, classification: Callable[[Step], Terms]) -> Terms:
        task, extra, hyperparameters = step.task, step.out.extra, step.task.hyperparameters
        tau_M, share = hyperparameters["tau"], task.old / task.seen
        terms = classification(step)
        classified_M = terms[self.loss_]
        contrast_M = view_contrast(extra["embedding"], extra["embedding"], tau_M)
        terms["contrast"] = hyperparameters["contrast"] * (1 - share) * contrast_M
        if task.old:
            old_contrast_M = view_contrast(extra["predicted"], extra["before"], tau_M)
            borrowed_M, handed_M = transferred(step.logits_MBK, extra["transfer"], step.labels_MB, task.old)
            handed_M = torch.where(borrowed_M < classified_M, handed_M, 0)
            terms["contrast_kd"] = hyperparameters["contrast_kd"] * share * old_contrast_M
            terms["aux"] = hyperparameters["aux"] * aux_cross_entropy(step)
            terms["transfer"] = hyperparameters["transfer"] * (borrowed_M + handed_M)
        return terms

    def after_stage(self, stage: Stage, learner: Learner, images: TaskImages) -> None:
        if stage.name == "train" and images.old and self.scale_rows:
            align_new_rows(learner.network.classifier, images.old)

    def evaluate(self, learner: Learner, images: Tensor) -> Outputs:
        return on_all_features(learner, images)._replace(extra={})

    def _training(self, later: bool, learner: Learner, images: Tensor) -> Outputs:
        network, out = learner.network, on_all_features(learner, images)
        free: Maps = network.get_submodule(FREE)(images)
        dtype = network.classifier.weight_MKD.dtype
        free_MBD, extra = free.features_MBD.to(dtype), dict(out.extra)
        with torch.no_grad():
            before_MBD = learner.frozen[TEACHER].get_submodule(FREE)(images).features_MBD.to(dtype) if later else None
        with torch.autocast(images.device.type, enabled=False):
            extra["embedding"] = network.get_submodule("projector")(free_MBD)
            if before_MBD is not None:
                projector = learner.frozen[TEACHER].get_submodule("projector")
                extra["before"] = projector(before_MBD)
                extra["predicted"] = projector(network.get_submodule("predictor")(free_MBD))
                borrowed_MBD = network.get_submodule("attention")(out.maps.last, free.last.detach())
                extra["transfer"] = network.get_submodule("transfer")(borrowed_MBD)
        return out._replace(extra=extra)

    def _begin(self, task: TaskContext, learner: Learner, images: TaskImages) -> None:
        network, seeds, features = learner.network, learner.seeds, learner.network.net.features
        if task.old == 0:
            cast(Projector, network.get_submodule("projector")).draw(seeds, "projector")
            cast(MemberLinear, network.get_submodule("predictor")).draw(seeds, "predictor")
            return
        expand(task, learner)
        if self.old_on_new == "zero":
            with torch.no_grad():
                network.classifier.weight_MKD[:, : task.old, -features:] = 0
        _blend(network.net, network.get_submodule(FREE), self.blend)
        cast(MapAttention, network.get_submodule("attention")).draw(seeds, "attention", task.index)
        transfer = MemberLinear(learner.members, features, task.new).to(learner.device, learner.dtype)
        transfer.draw(seeds, "transfer", task.index)
        assign(network.get_submodule("transfer"), transfer.state_dict())


def transferred(logits_MBK: Tensor, borrowed_MBc: Tensor, labels_MB: Tensor, old: int) -> tuple[Tensor, Tensor]:
    """On images of new classes, 0 where a batch has none: cross-entropy of what is borrowed, and how far the
    classifier's answers among new classes are from it, ``KL(softmax(borrowed / 2) || softmax(z / 2))``; each ``[M]``.
    """
    new_MB = (labels_MB >= old).to(logits_MBK)
    counts_M = new_MB.sum(1).clamp_min(1)
    borrowed_MB = image_cross_entropy(borrowed_MBc, (labels_MB - old).clamp_min(0))
    target_MBc = (borrowed_MBc.detach() / _T).log_softmax(2)
    student_MBc = (logits_MBK[..., old:] / _T).log_softmax(2)
    apart_MB = (target_MBc.exp() * (target_MBc - student_MBc)).sum(2)
    return (new_MB * borrowed_MB).sum(1) / counts_M, (new_MB * apart_MB).sum(1) / counts_M


@torch.no_grad()
def _blend(net: nn.Module, other: nn.Module, part: float) -> None:
    """Parameters come nearer to those of another network by this part; running statistics start afresh."""
    for own, theirs in zip(net.parameters(), other.parameters(), strict=True):
        own.lerp_(theirs, part)
    for module in net.modules():
        if isinstance(module, MemberBatchNorm2d):
            module.running_mean.zero_()
            module.running_var.fill_(1)
