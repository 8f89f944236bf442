"""Learning a unified classifier by rebalancing (LUCIR): cosines, features that keep their direction, a margin.

The rows of old classes stand still. As in the code of Long-Tailed CIL (Liu et al., ECCV 2022), new rows are drawn at
random, not imprinted, and there is no fine-tuning afterwards.
"""

from trainer.methods.base import ChoosesLoss, Rebalanced
from trainer.stages.stage import Stage, Step, TaskContext, Terms


class Lucir(Rebalanced, ChoosesLoss):
    paper = "Hou et al., Learning a Unified Classifier Incrementally via Rebalancing, CVPR 2019"
    differences = (
        "With the second stage, Long-Tailed CIL's code skips the first stage of a task with at most 10 images a "
        "class; here it is trained.",
        "In ResNet-18, Long-Tailed CIL's code removes the last ReLU of the third stage; here that of the network is "
        "removed.",
    )

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        classification = self.task_loss(task)

        def loss(step: Step) -> Terms:
            return {**classification(step), **self.distances(step)}

        return (Stage("train", task.optim, loss, frozen_rows=task.old),)
