"""IL2M: finetuning, and old classes' scores rectified by what they were when the class was new.

Where the largest score is a new class's, each old class's score is multiplied by its mean when it was learnt over its
mean now, and by the network's confidence now over its confidence when the class was learnt.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from trainer.methods.base import ChoosesLoss, hyperparameter
from trainer.nets.network import Outputs
from trainer.stages.learner import Learner
from trainer.stages.stage import Stage, TaskImages

_TINY = 1e-6
"""a mean score nearer to 0 than this rectifies nothing"""


class Il2m(ChoosesLoss):
    paper = "Belouadah & Popescu, IL2M: Class Incremental Learning With Dual Memory, ICCV 2019"
    differences = (
        "FACIL's code takes mean scores and confidences from augmented training images (`statistics`); here they are "
        "taken from the same images without augmentation, which are what is classified later.",
    )

    scores: Literal["logits", "softmax"] = hyperparameter("logits")
    """what is rectified: logits, as FACIL's code does, whose means may have either sign, or probabilities"""

    statistics: Literal["plain", "augmented"] = hyperparameter("plain")
    """the images that mean scores and confidences are taken from: as they are classified, or as they are trained on"""

    def after_stage(self, stage: Stage, learner: Learner, images: TaskImages) -> None:
        """Keep what new classes score now, and find what the scores of old ones are to be multiplied by."""
        kept, old = learner.method_state, images.old
        new_MNK = self._scores(self._logits(images, images.new_N, "il2m-new"))
        classes = new_MNK.shape[2]
        learnt_MK = _own_means(new_MNK, images.labels_A[images.new_N].expand(learner.members, -1), classes)
        confidence_M1 = new_MNK.amax(2).mean(1, keepdim=True)
        confidence_MK, factor_MK = confidence_M1.repeat(1, classes), torch.ones_like(learnt_MK)
        if old:
            # What earlier tasks have left: of their classes alone, also where this is the second stage of the task.
            learnt_MK[:, :old] = kept["learnt_score_MK"][:, :old]
            confidence_MK[:, :old] = kept["learnt_confidence_MK"][:, :old]
        if old and images.exemplars_ME.shape[1]:
            scores_MEK = self._scores(self._logits(images, images.exemplars_ME, "il2m-old"))
            now_MK = _own_means(scores_MEK, images.labels_A[images.exemplars_ME], classes)
            factor_MK[:, :old] = (_ratio(learnt_MK, now_MK) * _ratio(confidence_M1, confidence_MK))[:, :old]
        kept["learnt_score_MK"], kept["learnt_confidence_MK"], kept["factor_MK"] = learnt_MK, confidence_MK, factor_MK
        kept["new_MK"] = (torch.arange(classes, device=learner.device) >= old).repeat(learner.members, 1)

    def classify(self, out: Outputs, method_state: Mapping[str, Tensor]) -> Tensor:
        scores_MBK = self._scores(out.logits_MBK)
        new_MB = method_state["new_MK"].gather(1, scores_MBK.argmax(2))
        return torch.where(new_MB.unsqueeze(2), scores_MBK * method_state["factor_MK"].unsqueeze(1), scores_MBK)

    def probabilities(self, scores_MNK: Tensor, method_state: Mapping[str, Tensor]) -> Tensor | None:
        """Rectified probabilities no longer sum to 1: they are divided by their sum."""
        if self.scores == "logits":
            return super().probabilities(scores_MNK, method_state)
        return scores_MNK / scores_MNK.sum(2, keepdim=True)

    def auxiliary_scores(self, out: Outputs, method_state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"argmax": out.logits_MBK}

    def _logits(self, images: TaskImages, index: Tensor, use: str) -> Tensor:
        if self.statistics == "plain":
            return images.embed(index).logits_MNK
        assert images.embed_augmented is not None
        return images.embed_augmented(index, use).logits_MNK

    def _scores(self, logits_MNK: Tensor) -> Tensor:
        return logits_MNK if self.scores == "logits" else logits_MNK.softmax(2)


def _own_means(scores_MNK: Tensor, labels_MN: Tensor, classes: int) -> Tensor:
    """The mean score of each class on its own images, 0 where it has none: ``[M, K]``."""
    own_MN = scores_MNK.gather(2, labels_MN.unsqueeze(2)).squeeze(2)
    zeros_MK = own_MN.new_zeros(len(own_MN), classes)
    counts_MK = zeros_MK.scatter_add(1, labels_MN, torch.ones_like(own_MN))
    return zeros_MK.scatter_add(1, labels_MN, own_MN) / counts_MK.clamp_min(1)


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    """1 where ``below`` is next to 0."""
    return torch.where(below.abs() < _TINY, 1, above / below)
