"""FOSTER: a new backbone next to the old one is boosted with what the old one gets wrong, then both become one.

Boosting: the old network stands still; a classifier on the features of both, and an auxiliary one on the new features,
learn, the former by logits divided by class weights, so that rare classes must reach larger ones. Compression: a
student that starts as the old network learns the boosted network's answers, reweighted towards rare classes. The
student is what classifies and is kept; the boosted network's accuracy is reported too, and exemplars are chosen
by its features.
"""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from trainer.distill.base import DistillationName, KnowledgeDistillation, prepare
from trainer.distill.kd import kd
from trainer.losses.class_weights import effective_number_weights
from trainer.losses.cross_entropy import cross_entropy
from trainer.methods.base import PYCIL_HEADS, Method, distillation_temperature, distillation_weight, hyperparameter
from trainer.nets.correction import align_new_rows
from trainer.nets.heads import LinearHead
from trainer.nets.member import assign
from trainer.nets.network import Network, Outputs
from trainer.stages.learner import TEACHER, Learner
from trainer.stages.optim import rescheduled
from trainer.stages.stage import Stage, Step, TaskContext, TaskImages, Terms

OLD, BOOSTED = "old", "boosted"
"""frozen networks: the last task's student; this task's new backbone with the classifier on both's features"""


class Foster(Method):
    paper = "Wang et al., FOSTER: Feature Boosting and Compression for Class-Incremental Learning, ECCV 2022"
    needs_teacher = True
    differences = (
        "PyCIL's first task and its boosting follow half a cosine; here they follow `optim` (`optim.schedule: "
        "cosine`).",
        PYCIL_HEADS,
        "PyCIL counts 500 images of every new class of CIFAR-100 in the class weights; here they are counted.",
    )

    lambda_: float = distillation_weight()
    """weight of the distillation while boosting"""
    temperature: float = distillation_temperature()
    kd: DistillationName = hyperparameter("kd", first_task=1)
    """the distillation while boosting"""
    beta_boost: float = hyperparameter(0.96, per_member=True, first_task=1, ge=0, lt=1)
    """of the effective numbers that logits are divided by"""
    beta_compress: float = hyperparameter(0.97, per_member=True, first_task=1, ge=0, lt=1)
    """of the effective numbers that reweight the boosted answers"""
    compress_epochs: float = hyperparameter(0.8125, first_task=1, gt=0, le=10)
    """epochs of the compression, as a part of those of a task (130 of 160)"""
    new_on_old: bool = hyperparameter(True, first_task=1)
    """new classes' logits depend on the old backbone's features too; else these weights stay 0"""
    align: float | None = hyperparameter(None, first_task=1, gt=0, le=10)
    """after boosting, new rows are scaled to the old ones' mean norm, times this to the power of old classes over new
    ones; null: they are not"""

    def parts(self, members: int, features: int) -> dict[str, nn.Module]:
        return {**super().parts(members, features), "aux": LinearHead(members, features, stream_name="aux")}

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        if task.old == 0:
            return (Stage("train", task.optim, self.loss, trains=("net.", "head.")),)
        # A class of which nothing is left counts as one image: its weight divides logits.
        counts_K = task.kept_K.clamp_min(1)
        boost_MK, compress_MK = (
            effective_number_weights(counts_K, task.hyperparameters[f"beta_{stage}"]).to(task.dtype)
            for stage in ("boost", "compress")
        )
        boost = Stage(
            "boost",
            task.optim,
            partial(self.boosting_loss, weights_MK=boost_MK, distillation=prepare(self.kd, task.old_classes())),
            None if self.new_on_old else _only_new_features,
            forward=self._boosting,
            trains=("net.", "head.", "aux."),
            prepare=partial(_widen, task, self.new_on_old),
        )
        compress = Stage(
            "compress",
            rescheduled(task.optim, self.compress_epochs, schedule="cosine", weight_decay=0.0),
            partial(self.compression_loss, weights_MK=compress_MK),
            forward=self._compressing,
            trains=("net.", "head."),
            prepare=partial(_start_from_old, task),
        )
        return (boost, compress)

    def after_stage(self, stage: Stage, learner: Learner, images: TaskImages) -> None:
        if stage.name == "boost" and self.align is not None:
            head = learner.network.classifier
            align_new_rows(head, images.old, self.align ** (images.old / (head.classes - images.old)))

    def evaluate(self, learner: Learner, images: Tensor) -> Outputs:
        out = self.outputs(learner.network, images)
        # Nobody asks for the boosted network's answers while a student trains.
        if BOOSTED not in learner.frozen or learner.network.training:
            return out
        boosted = self._boosted(learner.frozen, images)
        return out._replace(features_MBD=boosted.features_MBD, extra={BOOSTED: boosted.logits_MBK}, weight_MKD=None)

    def auxiliary_scores(self, out: Outputs, method_state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(out.extra)

    def boosting_loss(self, step: Step, weights_MK: Tensor, distillation: KnowledgeDistillation | None) -> Terms:
        terms = {
            "ce": cross_entropy(step.logits_MBK / weights_MK.unsqueeze(1), step.labels_MB),
            "aux": cross_entropy(step.out.extra["aux"], step.labels_MB),
        }
        if distillation is not None:
            terms["kd"] = step.task.hyperparameters["lambda"] * distillation.loss(step.pair())
        return terms

    def compression_loss(self, step: Step, weights_MK: Tensor) -> Terms:
        """The boosted network's softened answers, times the weights, scaled to sum to 1, are the target."""
        assert step.teacher_MBK is not None
        T_M = step.task.hyperparameters["temperature"]
        target_MBK = step.teacher_MBK + T_M[:, None, None] * weights_MK.log().unsqueeze(1)
        return {"kd": kd(step.logits_MBK, target_MBK, T_M)}

    def _boosting(self, learner: Learner, images: Tensor) -> Outputs:
        with torch.no_grad():
            old = self.outputs(learner.frozen[OLD], images)
        return _side_by_side(learner.network, old, images)

    def _compressing(self, learner: Learner, images: Tensor) -> Outputs:
        return self.outputs(learner.network, images)._replace(teacher=self._boosted(learner.frozen, images))

    @torch.no_grad()
    def _boosted(self, frozen: Mapping[str, Network], images: Tensor) -> Outputs:
        return _side_by_side(frozen[BOOSTED], self.outputs(frozen[OLD], images), images)


def _side_by_side(new: Network, old: Outputs, images: Tensor) -> Outputs:
    """What the classifiers make of old features and new ones, with the old network as teacher."""
    maps, head = new.embed(images), new.classifier
    with torch.autocast(images.device.type, enabled=False):
        both_MBD = torch.cat([old.features_MBD, maps.features_MBD], dim=2)
        extra = {"aux": new.get_submodule("aux")(maps.features_MBD)}
        return Outputs(both_MBD, head(both_MBD), maps, old, extra, head.weight_MKD)


@torch.no_grad()
def _widen(task: TaskContext, new_on_old: bool, learner: Learner, images: TaskImages) -> None:
    """Begin boosting: a fresh auxiliary classifier, and one on both backbones that has the old one in its corner."""
    old = learner.frozen[OLD] = learner.frozen[TEACHER]
    features = old.net.features
    head, aux = LinearHead(learner.members, 2 * features), LinearHead(learner.members, features, stream_name="aux")
    for part in (head, aux):
        part.init = old.classifier.init
        part.to(learner.device, learner.dtype)
        part.grow(task.seen, learner.seeds, task.index)
    head.weight_MKD[:, : task.old, :features] = old.classifier.weight_MKD
    head.bias_MK[:, : task.old] = old.get_parameter("head.bias_MK")
    if not new_on_old:
        head.weight_MKD[:, task.old :, :features] = 0
    # Into the parts that are there, which will grow as wide as a single backbone again.
    assign(learner.network.classifier, head.state_dict())
    assign(learner.network.get_submodule("aux"), aux.state_dict())


def _start_from_old(task: TaskContext, learner: Learner, images: TaskImages) -> None:
    """Begin compression: keep the boosted network, and start from the old one, with fresh rows for new classes."""
    learner.frozen[BOOSTED] = learner.network.frozen()
    learner.network.take(learner.frozen[OLD])
    learner.network.grow(task.new, learner.seeds, task.index)


def _only_new_features(step: Step) -> None:
    """Keep new classes' weights on old features, the first half, as they are."""
    grad_MKD = step.head.weight_MKD.grad
    assert grad_MKD is not None
    grad_MKD[:, step.task.old :, : grad_MKD.shape[2] // 2].zero_()
