"""What a method is: hyperparameters as typed fields, and hooks.

A method is one file of this folder that defines one subclass of Method. Nothing registers it and
nothing else names it: a run file's ``method.name`` is the file's name.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, cast

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from trainer.distill.base import DistillationName, prepare
from trainer.distill.features import cosine_distance
from trainer.losses.base import LOSSES, ClassificationLoss, LossName, RunningLoss
from trainer.losses.cross_entropy import cross_entropy
from trainer.losses.margin_ranking import margin_ranking
from trainer.nets.heads import CosineHead, LinearHead
from trainer.nets.network import Network, Outputs
from trainer.registry import Registry
from trainer.stages.expansion import aux_cross_entropy
from trainer.stages.learner import Learner
from trainer.stages.stage import Stage, Step, TaskContext, TaskImages, Terms


def hyperparameter(default: Any, *, per_member: bool = False, first_task: int = 0, **field: Any) -> Any:
    """A hyperparameter of a method. The docstring below it says what it is.

    ``per_member``: members of one pass may differ in it; hooks then read it from ``TaskContext.hyperparameters`` as
    ``[M]``. ``first_task``: the first task (0-based) that it can change. Runs that differ only in fields that act later
    share the training of the first task. ``field``: its range, ``ge``, ``gt``, ``le``, ``lt``, and its name in files if
    that is a word of Python, ``alias``, as for ``pydantic.Field``.
    """
    return Field(default, json_schema_extra={"per_member": per_member, "first_task": first_task}, **field)


def distillation_weight(default: float = 1.0, le: float = 100) -> Any:
    """The field ``lambda`` of a method that distils, from the second task on."""
    return hyperparameter(default, alias="lambda", per_member=True, first_task=1, ge=0, le=le)


def distillation_temperature() -> Any:
    """The field ``temperature`` of a method that distils, from the second task on."""
    doc = "temperature that softens teacher and student"
    return hyperparameter(2.0, per_member=True, first_task=1, gt=0, le=100, description=doc)


def effective_number_beta(default: float) -> Any:
    """The field ``cb_beta`` of a method with class weights (Cui et al., CVPR 2019)."""
    doc = "beta of the effective numbers that class weights come from: 0 for none, towards 1 for inverse frequency"
    return hyperparameter(default, per_member=True, ge=0, le=0.99999, description=doc)


class Method(BaseModel):
    """Base of every method: a linear head, one stage of cross-entropy on new images and exemplars, argmax of logits.

    All hooks are optional; those that a method overrides are what it is.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        populate_by_name=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    paper: ClassVar[str] = ""
    """where the method was published"""
    needs_teacher: ClassVar[bool] = False
    """whether the network as it stood after the last task is kept and asked in every step"""
    last_relu: ClassVar[bool] = True
    """whether features are what is left after the network's last ReLU"""
    backbones: ClassVar[tuple[str, ...]] = ()
    """names of parts that are further networks such as ``net``, drawn apart from it"""
    grows: ClassVar[bool] = False
    """whether a step takes more time and memory in later tasks"""
    differences: ClassVar[tuple[str, ...]] = ()
    """a sentence for each thing that released code of the method does and this by default does not"""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        # A docstring may be broken into lines; what describes a column or a cell of a table may not.
        for info in cls.model_fields.values():
            info.description = " ".join((info.description or "").split())

    @property
    def name(self) -> str:
        """The name of the file that defines the method."""
        return type(self).__module__.rpartition(".")[2]

    @classmethod
    def field_names(cls) -> tuple[str, ...]:
        """Names, as in files, of all its fields."""
        return tuple(cls._declared())

    @classmethod
    def per_member_fields(cls) -> frozenset[str]:
        """Names, as in files, of the fields that members of one pass may differ in."""
        return frozenset(name for name, declared in cls._declared().items() if declared.get("per_member"))

    @classmethod
    def fields_from_task(cls, task: int) -> frozenset[str]:
        """Names, as in files, of the fields that change nothing before ``task``."""
        return frozenset(name for name, declared in cls._declared().items() if declared.get("first_task", 0) >= task)

    @classmethod
    def fields_set_by(cls, field: str) -> frozenset[str]:
        """Names, as in files, of the fields that take their values from ``field`` where a file leaves them out."""
        return frozenset()

    @classmethod
    def _declared(cls) -> dict[str, Any]:
        return {info.alias or name: info.json_schema_extra or {} for name, info in cls.model_fields.items()}

    def parts(self, members: int, features: int) -> dict[str, nn.Module]:
        """What stands behind the backbone, by name; ``head`` is the classifier. Called for every network made."""
        return {"head": LinearHead(members, features)}

    def most_classes(self, features: int) -> int | None:
        """How many classes a network of so many features can learn; None: any number."""
        return None

    def outputs(self, network: Network, images: Tensor) -> Outputs:
        """Features and logits of ``images [B, M*C, H, W]``, of a student or a teacher."""
        return cast(Outputs, network(images))

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        """The stages of one task, in order."""
        return (Stage("train", task.optim, self.task_loss(task)),)

    def task_loss(self, task: TaskContext) -> Callable[[Step], Terms]:
        """The loss of one task, with whatever of it stays the same over the steps."""
        return self.loss

    def loss(self, step: Step) -> Terms:
        """The named losses of a step, each ``[M]``: reduced over batch and class, never over members."""
        return {"ce": cross_entropy(step.logits_MBK, step.labels_MB)}

    def after_stage(self, stage: Stage, learner: Learner, images: TaskImages) -> None:
        """Called when a stage has been trained. What later tasks need goes into ``learner.method_state``."""

    def exemplar_candidates(self, images: TaskImages) -> Tensor:
        """Which of the new images may become exemplars, ``[n]``."""
        return images.new_N

    def exemplars_per_class(self, per_class: int) -> int:
        """How many exemplars a class has, of the ``per_class`` images of it that may be kept."""
        return per_class

    def after_task(self, learner: Learner, images: TaskImages) -> None:
        """Called when exemplars are chosen, before the accuracies are measured."""

    def evaluate(self, learner: Learner, images: Tensor) -> Outputs:
        """Like ``outputs``, of the student, with whatever ``classify`` and ``auxiliary_scores`` need."""
        return self.outputs(learner.network, images)

    def classify(self, out: Outputs, method_state: Mapping[str, Tensor]) -> Tensor:
        """Scores ``[M, N, K]`` whose largest is the predicted class."""
        return out.logits_MBK

    def probabilities(self, scores_MNK: Tensor, method_state: Mapping[str, Tensor]) -> Tensor | None:
        """The probability of each class ``[M, N, K]``, from what ``classify`` returned; None where it has none.

        By default the softmax of the scores. Methods that train sigmoids return those, which need not sum to 1.
        """
        return scores_MNK.softmax(2)

    def auxiliary_scores(self, out: Outputs, method_state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Scores of other classifiers that come with the method, by name; their accuracies are reported too."""
        return {}


PYCIL_HEADS = (
    "PyCIL's heads start with Kaiming-uniform rows and zero biases (`net.init: fan_out_wide_head`); here rows are "
    "smaller by a factor of sqrt(3), and biases are drawn too."
)
"""a sentence of ``differences``"""


def followed(loss: ClassificationLoss, name: str, task: TaskContext) -> Callable[[Step], ClassificationLoss]:
    """The loss as it stands in a step; one that follows the steps has a buffer called ``name`` in every stage."""
    if not isinstance(loss, RunningLoss):
        return lambda step: loss
    buffer = f"{name}_MK"
    start_MK = task.continued_MK(buffer, loss.kept_MK) if loss.continues else loss.kept_MK

    def in_step(step: Step) -> ClassificationLoss:
        if buffer not in step.buffers:
            step.buffers[buffer] = start_MK.clone()
        return loss.keeping(step.buffers[buffer])

    return in_step


def stepped(loss: ClassificationLoss, step: Step) -> Tensor:
    """The loss of a step, ``[M]``, which it then takes in."""
    value_M = loss(step.logits_MBK, step.labels_MB)
    if isinstance(loss, RunningLoss):
        loss.update(step.logits_MBK.detach(), step.labels_MB)
    return value_M


def blended_loss(loss: ClassificationLoss, step: Step) -> Tensor:
    """The loss of blended images, ``share`` of it for the one label and the rest for the other, ``[M]``."""
    blended, partner_MB, share_M = step.blended, step.partner_MB, step.share_M
    assert blended is not None
    assert partner_MB is not None
    assert share_M is not None
    own_M, partners_M = (loss(blended.logits_MBK, labels_MB) for labels_MB in (step.labels_MB, partner_MB))
    return share_M * own_M + (1 - share_M) * partners_M


class ChoosesLoss(Method):
    """Base of methods whose cross-entropy a run file can replace by another classification loss."""

    loss_: LossName = hyperparameter("ce", alias="loss")
    """classification loss: the name of a file of trainer/losses/"""

    def chosen(self, task: TaskContext) -> Callable[[Step], ClassificationLoss]:
        """The loss of one task, as it stands in a step."""
        return followed(LOSSES.find(self.loss_).prepare(task.kept_K, task.members, task.dtype), self.loss_, task)

    def task_loss(self, task: TaskContext) -> Callable[[Step], Terms]:
        chosen = self.chosen(task)
        return lambda step: {self.loss_: stepped(chosen(step), step)}


class Expanding(ChoosesLoss):
    """Base of methods on DER: every task adds a backbone or a part of one, with an auxiliary classifier on it alone.

    Yan et al., DER: Dynamically Expandable Representation for Class Incremental Learning, CVPR 2021.
    """

    grows = True

    aux: float = hyperparameter(1.0, per_member=True, first_task=1, ge=0, le=100)
    """weight of the auxiliary classifier's cross-entropy"""

    def parts(self, members: int, features: int) -> dict[str, nn.Module]:
        return {**super().parts(members, features), "aux": LinearHead(members, features, stream_name="aux")}

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        classification = self.task_loss(task)
        if task.old == 0:
            return (Stage("train", task.optim, classification, trains=("net.", "head.")),)

        def loss(step: Step) -> Terms:
            return {**classification(step), "aux": task.hyperparameters["aux"] * aux_cross_entropy(step)}

        return self.later_stages(task, loss)

    def later_stages(self, task: TaskContext, loss: Callable[[Step], Terms]) -> tuple[Stage, ...]:
        """The stages of a task after the first one; ``loss``: of both classifiers."""
        raise NotImplementedError


class Rebalanced(Method):
    """Base of methods on LUCIR: cosines, rows of old classes that stand still, and what keeps features and margins.

    Hou et al., Learning a Unified Classifier Incrementally via Rebalancing, CVPR 2019.
    """

    needs_teacher = True
    last_relu = False

    lambda_: float = distillation_weight(5.0, le=1000)
    """weight of the distillation of features, times sqrt(old classes / new classes); 10 for ImageNet"""
    ranking: float = hyperparameter(1.0, per_member=True, first_task=1, ge=0, le=100)
    """weight of the margin ranking"""
    margin: float = hyperparameter(0.5, per_member=True, first_task=1, ge=0, le=2)
    """of an exemplar's own class over new classes, in cosines"""
    nearest: int = hyperparameter(2, first_task=1, ge=1, le=1000)
    """new classes that an exemplar is ranked against"""

    def parts(self, members: int, features: int) -> dict[str, nn.Module]:
        return {"head": CosineHead(members, features)}

    def distances(self, step: Step) -> Terms:
        """Features that keep their direction, and exemplars that keep a margin over new classes; none in task 0."""
        task, hyperparameters, teacher = step.task, step.task.hyperparameters, step.out.teacher
        if teacher is None:
            return {}
        similarity_MBK = cast(CosineHead, step.head).similarities(step.features_MBD)
        apart_M = cosine_distance(step.features_MBD, teacher.features_MBD)
        ranked_M = margin_ranking(similarity_MBK, step.labels_MB, task.old, hyperparameters["margin"], self.nearest)
        return {
            "features": hyperparameters["lambda"] * math.sqrt(task.old / task.new) * apart_M,
            "ranking": hyperparameters["ranking"] * ranked_M,
        }


class SharesWithDistillation(ChoosesLoss):
    """Base of methods that minimise ``(1 - m/K) CE + m/K KD``, with m of K classes old."""

    needs_teacher = True

    lambda_: float = distillation_weight()
    """weight of the distillation, on top of its m / K"""
    temperature: float = distillation_temperature()
    kd: DistillationName = hyperparameter("kd", first_task=1)
    """the distillation"""

    def task_loss(self, task: TaskContext) -> Callable[[Step], Terms]:
        classification, distillation = super().task_loss(task), prepare(self.kd, task.old_classes())
        if distillation is None:
            return classification
        share, weight_M = task.old / task.seen, task.hyperparameters["lambda"]

        def loss(step: Step) -> Terms:
            terms = {name: (1 - share) * value_M for name, value_M in classification(step).items()}
            return {**terms, "kd": weight_M * share * distillation.loss(step.pair())}

        return loss


METHODS = Registry("trainer.methods", Method, kind="method", field="method.name")
