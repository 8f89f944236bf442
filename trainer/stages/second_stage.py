"""The second stage of Long-Tailed CIL, after any method's own: the classifier is balanced, the backbone is frozen.

Liu et al., "Long-Tailed Class-Incremental Learning", ECCV 2022, "learnable weight scaling": a factor on each class's
logit and the new rows of the head are trained on class-aware batches. The factors act from then on where images are
classified, but neither in the first stage nor in the teacher.
"""

from collections.abc import Iterable
from functools import partial
from typing import ClassVar

from pydantic import Field

from trainer.data.samplers import class_aware
from trainer.losses.cross_entropy import cross_entropy
from trainer.nets.network import Network, Outputs
from trainer.section import Section
from trainer.stages.stage import Forward, Stage, TaskContext

PART = "class_scale"
"""the name of the factors among the parts of a network"""


class SecondStage(Section):
    """A second stage that balances the classifier (Liu et al., Long-Tailed CIL, ECCV 2022), after any method's own."""

    differences: ClassVar[tuple[str, ...]] = (
        "In Long-Tailed CIL's code the logit factors learn at the full rate in the first epoch and at a tenth of it "
        "afterwards (`full_rate_epochs: 1`); here at `scale_lr_factor` times it throughout, as that code's schedule "
        "has it, which it only asks after the first epoch.",
        "Long-Tailed CIL's EEIL has a second stage of one epoch; that is `epochs: 1` with `full_rate_epochs: 1`.",
    )

    epochs: int = Field(30, ge=0, le=10_000, description="epochs of the second stage of each task; 0: none")
    lr: float = Field(0.1, gt=0, le=100, description="learning rate of the new rows of the head, falling as a cosine")
    scale_lr_factor: float = Field(0.1, gt=0, le=10, description="factor of that learning rate for the logit factors")
    full_rate_epochs: int = Field(
        0, ge=0, le=10_000, description="epochs at first in which the logit factors learn at the whole learning rate"
    )
    images_per_visit: int = Field(4, ge=1, description="images of a class that the class-aware sampler takes in a row")


def stage(config: SecondStage, task: TaskContext, evaluate: Forward, parts: Iterable[str]) -> Stage:
    """What follows a method's own stages in every task.

    ``evaluate``: how the method classifies; ``parts``: the names of its parts behind the backbone.
    """
    schedule = {"epochs": config.epochs, "lr": config.lr, "schedule": "cosine", "warmup_epochs": 0}
    return Stage(
        "stage2",
        task.optim.model_copy(update=schedule),
        lambda step: {"ce": cross_entropy(step.logits_MBK, step.labels_MB)},
        forward=lambda learner, images: scaled(learner.network, evaluate(learner, images)),
        sampler=partial(class_aware, images_per_visit=config.images_per_visit),
        trains=("head.", f"{PART}."),
        evaluates=("net", *(part for part in parts if part != "head")),
        frozen_rows=task.old,
        lr_factor={f"{PART}.": config.scale_lr_factor},
        lr_factor_from=config.full_rate_epochs,
    )


def scaled(network: Network, out: Outputs) -> Outputs:
    """``out`` with the factors on its logits, if the network has any."""
    factors = getattr(network, PART, None)
    return out if factors is None else out._replace(logits_MBK=factors(out.logits_MBK))
