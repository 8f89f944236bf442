"""A network that grows with the tasks: its earlier backbones, and classifiers that become wider."""

from collections.abc import Sequence

import torch
from torch import Tensor

from trainer.nets.heads import LinearHead
from trainer.nets.member import assign
from trainer.nets.network import Network
from trainer.stages.learner import Learner
from trainer.stages.stage import TaskContext

_OF_TASK = "task{}"
"""the frozen network that learnt a task"""


def keep_backbone(learner: Learner, task: int) -> None:
    """Freeze the network as it has learnt a task (0-based)."""
    learner.frozen[_OF_TASK.format(task)] = learner.network.frozen()


def earlier(learner: Learner) -> Sequence[Network]:
    """The frozen networks of earlier tasks, in order."""
    tasks = sum(name.startswith(_OF_TASK.format("")) for name in learner.frozen)
    return [learner.frozen[_OF_TASK.format(task)] for task in range(tasks)]


def fresh_head(learner: Learner, width: int, classes: int, task: int, stream_name: str) -> LinearHead:
    """A linear head of so many features and classes, drawn from ``stream_name``."""
    head = LinearHead(learner.members, width, stream_name=stream_name)
    head.init = learner.network.classifier.init
    head.to(learner.device, learner.dtype)
    head.grow(classes, learner.seeds, task)
    return head


@torch.no_grad()
def widen(learner: Learner, task: TaskContext, features: int) -> None:
    """Make the classifier as wide as a feature vector with ``features`` more; old rows keep what they have."""
    old_MKD = learner.network.classifier.weight_MKD[:, : task.old]
    head = fresh_head(learner, old_MKD.shape[2] + features, task.seen, task.index, "head")
    head.weight_MKD[:, : task.old, :-features] = old_MKD
    head.bias_MK[:, : task.old] = learner.network.get_parameter("head.bias_MK")[:, : task.old]
    assign(learner.network.classifier, head.state_dict())


def aux_labels(labels_MB: Tensor, old: int) -> Tensor:
    """0 for every old class, 1, 2, ... for new ones."""
    return (labels_MB - old + 1).clamp_min(0)
