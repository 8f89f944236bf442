"""The classifier of iCaRL: the class whose exemplars' mean is nearest (Rebuffi et al., CVPR 2017)."""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from trainer.nets.network import Outputs
from trainer.stages.learner import Learner
from trainer.stages.stage import TaskImages


def keep_exemplar_means(learner: Learner, images: TaskImages) -> None:
    """Keep class means of the exemplars' normalised features, normalised again, as the method's ``means_MKD``.

    Without exemplars nothing is kept.
    """
    if images.exemplars_ME.shape[1] == 0:
        return
    classes = learner.network.classifier.classes
    features_MED = F.normalize(images.embed(images.exemplars_ME).features_MND, dim=2)
    class_MEK = F.one_hot(images.labels_A[images.exemplars_ME], classes).to(features_MED)
    learner.method_state["means_MKD"] = F.normalize(class_MEK.transpose(1, 2) @ features_MED, dim=2)


def nearest_mean_scores(out: Outputs, method_state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The scores of an auxiliary classifier by the nearest mean; none without means."""
    means_MKD = method_state.get("means_MKD")
    return {} if means_MKD is None else {"nearest_mean": mean_cosines(out.features_MBD, means_MKD)}


def mean_cosines(features_MND: Tensor, means_MKD: Tensor) -> Tensor:
    """Cosine to each mean, ``[M, N, K]``: of unit vectors the largest is that to the nearest."""
    return F.normalize(features_MND, dim=2) @ means_MKD.transpose(1, 2)
