"""A network that grows with the tasks: its earlier backbones, and classifiers on the features of all of them.

The classifier is the part ``head``, as wide as all features together; the part ``aux``, on the new features alone,
tells new classes from each other and from all old ones together, which are its first class.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from trainer.losses.cross_entropy import cross_entropy
from trainer.nets.heads import LinearHead
from trainer.nets.member import assign
from trainer.nets.network import Network, Outputs
from trainer.nets.resnet import Maps
from trainer.stages.learner import Learner
from trainer.stages.stage import Step, TaskContext

_OF_TASK = "task{}"
"""the frozen network that learnt a task"""


def expand(task: TaskContext, learner: Learner, needed: tuple[str, ...] = ("net.",)) -> None:
    """Keep what the last task has learnt, go on with its copy, and make room for its features in the classifier.

    Of what is kept only parameters and buffers with these prefixes are needed; the others become empty.
    """
    kept, features = learner.network.frozen(), learner.network.net.features
    tensors = kept.state_dict()
    assign(kept, {name: tensor if name.startswith(needed) else tensor[:, :0] for name, tensor in tensors.items()})
    learner.frozen[_OF_TASK.format(task.index - 1)] = kept.requires_grad_(False)
    _widen(learner, task, features)
    aux = fresh_head(learner, features, task.new + 1, task.index, "aux")
    assign(learner.network.get_submodule("aux"), aux.state_dict())


def earlier(learner: Learner) -> Sequence[Network]:
    """The frozen networks of earlier tasks, in order."""
    tasks = sum(name.startswith(_OF_TASK.format("")) for name in learner.frozen)
    return [learner.frozen[_OF_TASK.format(task)] for task in range(tasks)]


def on_all_features(learner: Learner, images: Tensor) -> Outputs:
    """What the network and all earlier ones make of the images, with the answers of ``aux``."""
    with torch.no_grad():
        old = [network.embed(images).features_MBD for network in earlier(learner)]
    return side_by_side(learner.network, old, learner.network.embed(images))


def side_by_side(network: Network, old: Iterable[Tensor], maps: Maps) -> Outputs:
    """Logits on old features ``[M, B, D]`` with the new ones behind them, and those of ``aux``."""
    with torch.autocast(maps.last.device.type, enabled=False):
        all_MBD = torch.cat([*old, maps.features_MBD], dim=2)
        extra = {"aux": network.get_submodule("aux")(maps.features_MBD)}
        return Outputs(all_MBD, network.classifier(all_MBD), maps, None, extra, network.classifier.weight_MKD)


def aux_cross_entropy(step: Step) -> Tensor:
    """Of ``aux``, ``[M]``."""
    return cross_entropy(step.out.extra["aux"], aux_labels(step.labels_MB, step.task.old))


def aux_labels(labels_MB: Tensor, old: int) -> Tensor:
    """0 for every old class, 1, 2, ... for new ones."""
    return (labels_MB - old + 1).clamp_min(0)


def fresh_head(learner: Learner, width: int, classes: int, task: int, stream_name: str) -> LinearHead:
    """A linear head of so many features and classes, drawn from ``stream_name``."""
    head = LinearHead(learner.members, width, stream_name=stream_name)
    head.init = learner.network.classifier.init
    head.to(learner.device, learner.dtype)
    head.grow(classes, learner.seeds, task)
    return head


@torch.no_grad()
def _widen(learner: Learner, task: TaskContext, features: int) -> None:
    """Old rows keep what they have; all else is fresh."""
    old_MKD = learner.network.classifier.weight_MKD[:, : task.old]
    head = fresh_head(learner, old_MKD.shape[2] + features, task.seen, task.index, "head")
    head.weight_MKD[:, : task.old, :-features] = old_MKD
    head.bias_MK[:, : task.old] = learner.network.get_parameter("head.bias_MK")[:, : task.old]
    assign(learner.network.classifier, head.state_dict())
