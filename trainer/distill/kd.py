"""Knowledge distillation: cross-entropy between softened teacher and student (Hinton et al., 2015).

m = old classes, the ones that the teacher knows. No T^2 inside.
"""

from torch import Tensor

from trainer.distill.base import KnowledgeDistillation, Pair


def kd(logits_MBm: Tensor, teacher_MBm: Tensor, temperature_M: Tensor) -> Tensor:
    """``-(1/B) sum_b sum_j softmax(zt/T)_j log softmax(z/T)_j``, per member ``[M]``."""
    T = temperature_M[:, None, None]
    return -((teacher_MBm / T).softmax(-1) * (logits_MBm / T).log_softmax(-1)).sum(-1).mean(1)


def kd_grad(logits_MBm: Tensor, teacher_MBm: Tensor, temperature_M: Tensor) -> Tensor:
    """Gradient of ``kd`` in the student's logits: ``(softmax(z/T) - softmax(zt/T)) / (T B)``, ``[M, B, m]``."""
    T = temperature_M[:, None, None]
    return ((logits_MBm / T).softmax(-1) - (teacher_MBm / T).softmax(-1)) / (T * logits_MBm.shape[1])


class PlainKD(KnowledgeDistillation):
    """``kd`` of the logits."""

    def loss(self, pair: Pair) -> Tensor:
        return kd(pair.logits_MBm, pair.teacher_MBm, pair.temperature_M)

    def grad(self, pair: Pair) -> Tensor:
        return kd_grad(pair.logits_MBm, pair.teacher_MBm, pair.temperature_M)
