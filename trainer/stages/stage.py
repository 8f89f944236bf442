"""What the loop and the methods hand to each other: a task, its images, a stage, a step, the terms of a loss."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from trainer.data.mix import BoxMix
from trainer.data.samplers import Sampler, shuffled
from trainer.distill.base import OldClasses, Pair
from trainer.nets.heads import Head
from trainer.nets.network import Network, Outputs
from trainer.nets.resnet import Split
from trainer.rng import MemberStreams
from trainer.stages.learner import Learner
from trainer.stages.optim import OptimConfig, learning_rate

Terms = dict[str, Tensor]
"""The named losses of a step, each ``[M]``; what is minimised is the sum of all."""


@dataclass(frozen=True)
class TaskContext:
    """One task as a method sees it. K = all classes seen so far, old ones first."""

    index: int
    old: int
    """m: classes of earlier tasks"""
    new: int
    """c: classes of this task"""
    sizes: tuple[int, ...]
    """classes of every task so far, this one's last"""
    members: int
    counts_K: Tensor
    """training images of each class when it was first seen, float64, on the device"""
    kept_K: Tensor
    """images of each class at hand in this task: exemplars of old classes, all of new ones; float64"""
    hyperparameters: Mapping[str, Tensor]
    """the method's per-member hyperparameters by field name, each ``[M]``, on the device"""
    optim: OptimConfig
    dtype: torch.dtype
    """data type of features, logits and buffers"""
    method_state: Mapping[str, Tensor] = field(default_factory=dict)
    """what the method has kept from earlier tasks, each ``[M, ...]``"""
    split: Split = field(default_factory=lambda: Split((), ()))
    """the modules of the backbone before its last stage, and in it"""

    @property
    def seen(self) -> int:
        """K = m + c"""
        return self.old + self.new

    def old_classes(self) -> OldClasses:
        """What a distillation knows of the old classes."""
        return OldClasses(self.counts_K[: self.old], self.kept_K[: self.old])

    def zeros_MK(self) -> Tensor:
        """A buffer with a number a member and class seen."""
        return torch.zeros(self.members, self.seen, device=self.counts_K.device, dtype=self.dtype)

    def continued_MK(self, name: str, fresh: float | Tensor = 0.0) -> Tensor:
        """A buffer that continues what the method has kept by this name of old classes; ``fresh`` elsewhere."""
        buffer_MK = self.zeros_MK() + fresh
        if name in self.method_state:
            buffer_MK[:, : self.old] = self.method_state[name][:, : self.old]
        return buffer_MK


class Embedding(NamedTuple):
    """What a network makes of N images."""

    features_MND: Tensor
    logits_MNK: Tensor


@dataclass(frozen=True)
class TaskImages:
    """The images of one task. Indices are into all training images, and on the device."""

    new_N: Tensor
    """images of the task's classes"""
    exemplars_ME: Tensor
    """each member's exemplars; of the old classes, and once the task is trained of its own as well"""
    labels_A: Tensor
    """labels of all training images, in rising order"""
    old: int
    """classes of earlier tasks"""
    per_class: int
    """images of an old class that are kept during this task, or of a new one in the first"""
    streams: MemberStreams
    """random streams of this task"""
    embed: Callable[[Tensor], Embedding]
    """what the network, as it is, makes of images ``[N]``, or each member's own ``[M, N]``; evaluation transforms"""
    embed_augmented: Callable[[Tensor, str], Embedding] | None = None
    """the same with training transforms, drawn for a use that the text names; a training always has it"""


def new_only(images: TaskImages) -> Tensor:
    """The pool without exemplars, ``[M, N]``."""
    return images.new_N.expand(len(images.exemplars_ME), -1)


def new_and_exemplars(images: TaskImages) -> Tensor:
    """The pool of a stage: new images and exemplars, ``[M, N]``."""
    return torch.cat([new_only(images), images.exemplars_ME], dim=1)


@dataclass(frozen=True)
class Step:
    """What a loss sees of one step."""

    out: Outputs
    labels_MB: Tensor
    task: TaskContext
    buffers: dict[str, Tensor]
    """the stage's buffers, each ``[M, ...]``; a method may update them in place, and add to them"""
    network: Network
    """the one that is trained"""
    epoch: int = 0
    partner_MB: Tensor | None = None
    """labels of what was pasted into the images, or blended with them; None where nothing was"""
    share_M: Tensor | None = None
    """fraction of each mixed image that still shows the image itself"""
    blended: Outputs | None = None
    """what was made of the blended images; ``out`` is what was made of the images themselves"""

    @property
    def features_MBD(self) -> Tensor:
        return self.out.features_MBD

    @property
    def logits_MBK(self) -> Tensor:
        return self.out.logits_MBK

    @property
    def teacher_MBK(self) -> Tensor | None:
        """Logits of the frozen network of the last task, over the old classes; None in the first task."""
        return None if self.out.teacher is None else self.out.teacher.logits_MBK

    def pair(self) -> Pair:
        """Student and teacher as a distillation compares them, at the method's ``temperature``."""
        out, teacher = self.out, self.out.teacher
        assert teacher is not None
        old = teacher.logits_MBK.shape[2]
        return Pair(
            out.logits_MBK[..., :old],
            teacher.logits_MBK,
            self.task.hyperparameters["temperature"],
            self.labels_MB,
            out.features_MBD,
            teacher.features_MBD,
            None if out.weight_MKD is None else out.weight_MKD[:, :old],
            teacher.weight_MKD,
        )

    @property
    def head(self) -> Head:
        return self.network.classifier


Forward = Callable[[Learner, Tensor], Outputs]
"""``(learner, images [B, M*C, H, W]) -> Outputs`` of its network, with its teacher's"""


@dataclass(frozen=True)
class Plateau:
    """A learning rate, each member's own, that falls by gamma where the loss on images set aside gets no lower."""

    set_aside: Callable[[TaskImages], Tensor]
    """the images, ``[N]``, which the stage's pool leaves out; with none the rate stays what it is"""
    patience: int
    """epochs in a row without a lower loss after which it falls"""
    lowest: float
    """a member whose rate would be lower has ended the stage"""


@dataclass(frozen=True)
class Stage:
    """One stretch of optimisation, as data."""

    name: str
    optim: OptimConfig
    loss: Callable[[Step], Terms]
    adjust_grads: Callable[[Step], None] | None = None
    """called after the backward pass, before the optimiser"""
    buffers: dict[str, Tensor] = field(default_factory=dict)
    """initial values of the stage's buffers, each ``[M, ...]``; at its end they become part of the method's state"""
    forward: Forward | None = None
    """None: the method's ``outputs`` of student and teacher"""
    pool: Callable[[TaskImages], Tensor] = new_and_exemplars
    """the images that are trained on, ``[M, N]``"""
    sampler: Sampler = shuffled
    mix: BoxMix | None = None
    two_views: bool = False
    """each batch is followed by itself as it is augmented by other draws: 2B images, with their labels"""
    mixup: bool = False
    """each batch is followed by itself blended with a permutation of it: 2B images in one pass"""
    trains: tuple[str, ...] = ("",)
    """parameters that learn, by prefixes of their names, such as ``head.``; the rest is frozen"""
    evaluates: tuple[str, ...] = ()
    """parts of the network, and modules in them by dotted names, that stay in evaluation mode"""
    frozen_rows: int = 0
    """first rows of the head that do not learn"""
    lr_factor: Mapping[str, float] = field(default_factory=dict)
    """factors of the learning rate, by prefixes of parameter names"""
    lr_factor_from: int = 0
    """the 0-based epoch from which these hold; before it the rate is one for all"""
    drops: Mapping[int, float] = field(default_factory=dict)
    """further factors of the learning rate, by the 0-based epoch from which they hold"""
    plateau: Plateau | None = None
    """what slows and ends the stage besides ``optim``; its loss must not depend on buffers"""
    no_decay: tuple[str, ...] = ()
    """parameters without weight decay, by prefixes of their names"""
    prepare: Callable[[Learner, TaskImages], None] | None = None
    """called when the stage begins, to put networks in place; may add to its ``buffers``"""
    after_epoch: Callable[[Learner, Mapping[str, Tensor]], None] | None = None
    """called after every epoch, with the stage's buffers"""
    after_step: Callable[[Network], None] | None = None
    """called after the optimiser, with the network that it has moved"""

    def learning_rate(self, epoch: int) -> float:
        """The rate of a 0-based epoch: the schedule's, times the factors of all drops so far."""
        return learning_rate(self.optim, epoch) * math.prod(f for start, f in self.drops.items() if start <= epoch)
