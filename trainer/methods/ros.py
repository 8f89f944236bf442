"""Random over-sampling: every class is seen as often as any other, by repeating the images of rare ones.

By default an epoch has as many images as without it, so that all systems take the same number of steps.
"""

from functools import partial
from typing import Literal

from trainer.data.samplers import duplicated, oversampled
from trainer.methods.base import ChoosesLoss, hyperparameter
from trainer.stages.stage import Stage, TaskContext


class RandomOverSampling(ChoosesLoss):
    paper = (
        "Van Hulse et al., Experimental Perspectives on Learning from Imbalanced Data, ICML 2007; for networks Buda et "
        "al., A systematic study of the class imbalance problem, 2018"
    )

    repeat: Literal["drawn", "duplicated"] = hyperparameter("drawn")
    """drawn: as many images an epoch as there are, with replacement; duplicated: each class again and again, until it
    has as many as the largest, which takes more steps"""
    power: float = hyperparameter(1.0, ge=0, le=4)
    """drawn: an image of class k comes with probability ~ 1 / n_k**power"""

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        sampler = duplicated if self.repeat == "duplicated" else partial(oversampled, power=self.power)
        return (Stage("train", task.optim, self.task_loss(task), sampler=sampler),)
