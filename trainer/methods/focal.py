"""Focal loss: cross-entropy in which images that are already classified well count less."""

from trainer.losses.focal import focal
from trainer.methods.base import Method, hyperparameter
from trainer.stages.stage import Step, Terms


class Focal(Method):
    paper = "Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, on the softmax"
    differences = ("The codes of IB and CMO multiply the loss by 10, which is a larger learning rate.",)

    gamma: float = hyperparameter(1.0, per_member=True, ge=0, le=10)
    """how fast an image counts less; 0: cross-entropy"""

    def loss(self, step: Step) -> Terms:
        return {"focal": focal(step.logits_MBK, step.labels_MB, step.task.hyperparameters["gamma"])}
