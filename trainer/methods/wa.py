"""Weight alignment: distillation, then the new rows of the classifier are scaled to the old ones' mean norm."""

import torch

from trainer.methods.base import PYCIL_HEADS, SharesWithDistillation, hyperparameter
from trainer.nets.correction import align_new_rows
from trainer.nets.network import Network
from trainer.stages.learner import Learner
from trainer.stages.stage import Stage, TaskContext, TaskImages


class Wa(SharesWithDistillation):
    paper = "Zhao et al., Maintaining Discrimination and Fairness in Class Incremental Learning, CVPR 2020"
    differences = (PYCIL_HEADS,)

    clip_weights: bool = hyperparameter(False)
    """keep the classifier's weights at 0 or more, as the paper does, so that norms are sizes of logits"""

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        return (Stage("train", task.optim, self.task_loss(task), after_step=_clip if self.clip_weights else None),)

    def after_stage(self, stage: Stage, learner: Learner, images: TaskImages) -> None:
        if stage.name == "train" and images.old:
            align_new_rows(learner.network.classifier, images.old)


@torch.no_grad()
def _clip(network: Network) -> None:
    network.classifier.weight_MKD.clamp_(min=0)
