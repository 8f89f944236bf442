"""The second stage of Long-Tailed CIL, after any method's own: the classifier is balanced, the backbone stands still.

Liu et al., "Long-Tailed Class-Incremental Learning", ECCV 2022, "learnable weight scaling": a factor on each class's
logit and the new rows of the head are trained on class-aware batches. The factors act from then on where images are
classified, but neither in the first stage nor in the teacher.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor

from trainer.config.run_config import Stage2
from trainer.data.samplers import class_aware
from trainer.losses.cross_entropy import cross_entropy
from trainer.methods.base import Method
from trainer.nets.network import Network, Outputs
from trainer.stages.stage import Networks, Stage, Step, TaskContext, Terms

PART = "class_scale"
"""the name of the factors among the parts of a network"""


def stage(config: Stage2, task: TaskContext, method: Method) -> Stage:
    """What follows the method's own stages in every task."""
    schedule = {"epochs": config.epochs, "lr": config.lr, "schedule": "cosine", "warmup_epochs": 0}
    return Stage(
        "stage2",
        task.optim.model_copy(update=schedule),
        _loss,
        forward=partial(_forward, method),
        sampler=partial(class_aware, images_per_visit=config.images_per_visit),
        trains=("head.", f"{PART}."),
        evaluates=("net", *(part for part in method.parts(1, 1) if part != "head")),
        frozen_rows=task.old,
        lr_factor={f"{PART}.": config.scale_lr_factor},
    )


def scaled(network: Network, out: Outputs) -> Outputs:
    """``out`` with the factors on its logits, if the network has any."""
    factors = getattr(network, PART, None)
    return out if factors is None else out._replace(logits_MBK=factors(out.logits_MBK))


def _forward(method: Method, networks: Networks, images: Tensor) -> Outputs:
    return scaled(networks.student, method.evaluate(networks, images))


def _loss(step: Step) -> Terms:
    return {"ce": cross_entropy(step.logits_MBK, step.labels_MB)}
