"""The classifier of iCaRL: the class whose exemplars' mean is nearest (Rebuffi et al., CVPR 2017)."""

import torch.nn.functional as F
from torch import Tensor

from trainer.stages.stage import TaskImages


def exemplar_means(images: TaskImages, classes: int) -> Tensor | None:
    """Class means of the exemplars' normalised features, normalised again, ``[M, K, D]``; None without exemplars."""
    if images.exemplars_ME.shape[1] == 0:
        return None
    features_MED = F.normalize(images.embed(images.exemplars_ME).features_MND, dim=2)
    class_MEK = F.one_hot(images.labels_A[images.exemplars_ME], classes).to(features_MED)
    return F.normalize(class_MEK.transpose(1, 2) @ features_MED, dim=2)


def mean_cosines(features_MND: Tensor, means_MKD: Tensor) -> Tensor:
    """Cosine to each mean, ``[M, N, K]``: of unit vectors the largest is that to the nearest."""
    return F.normalize(features_MND, dim=2) @ means_MKD.transpose(1, 2)
