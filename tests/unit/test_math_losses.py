"""The losses and their closed-form gradients, against a word-for-word restatement in loops and against autograd."""

import math

import pytest
import torch
from torch import Tensor

from trainer.distill.base import OldClasses, Pair
from trainer.distill.dakd import DistributionAwareKD, LostData, lost_data
from trainer.distill.kd import kd, kd_grad
from trainer.losses.cross_entropy import cross_entropy, cross_entropy_grad

M, B, K = 3, 4, 5
T_M = torch.tensor([1.0, 2.0, 5.5], dtype=torch.float64)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 3


def softmax(values: list[float]) -> list[float]:
    total = sum(math.exp(v) for v in values)
    return [math.exp(v) / total for v in values]


def literal_cross_entropy(z: Tensor, y: Tensor, pi: Tensor) -> float:
    total = 0.0
    for b in range(len(z)):
        p = softmax([float(z[b, k].detach() + pi[k]) for k in range(len(pi))])
        total += math.log(p[int(y[b])])
    return -total / len(z)


def literal_kd(z: Tensor, zt: Tensor, T: float) -> float:
    total = 0.0
    for b in range(len(z)):
        q = softmax([v / T for v in zt[b].tolist()])
        p = softmax([v / T for v in z[b].tolist()])
        total += sum(q[j] * math.log(p[j]) for j in range(len(q)))
    return -total / len(z)


def literal_dakd(z: Tensor, zt: Tensor, T: float, counts: list[float], kept: list[float]) -> float:
    lost = [n - e for n, e in zip(counts, kept, strict=True)]
    d = [(v + 0.001) / sum(w + 0.001 for w in lost) for v in lost]
    rho = -sum(v * math.log(v) for v in d) / math.log(len(d))
    a = [v / math.sqrt(sum(w * w for w in lost)) for v in lost]
    mixed = z.detach().clone()
    for b in range(len(z)):
        for j in range(len(a)):
            mixed[b, j] = a[j] * z[b, j] + (1 - a[j]) * zt[b, j]
    return rho * literal_kd(z, zt, T) + (1 - rho) * literal_kd(mixed, zt, T)


def gradient(loss_M: Tensor, logits: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(loss_M.sum(), logits)
    return found


def dakd(z: Tensor, zt: Tensor, lost: LostData) -> tuple[Tensor, Tensor]:
    """Loss and gradient in closed form."""
    distillation, labels_MB, features_MBD = DistributionAwareKD(lost), torch.zeros(M, B), torch.zeros(M, B, 1)
    pair = Pair(z, zt, T_M, labels_MB, features_MBD, features_MBD)
    return distillation.loss(pair), distillation.grad(pair)


COUNTS, KEPT = [450.0, 90.0, 12.0, 20.0, 21.0], [20.0, 20.0, 12.0, 20.0, 20.0]
LOST = lost_data(OldClasses(torch.tensor(COUNTS, dtype=torch.float64), torch.tensor(KEPT, dtype=torch.float64)))


@pytest.mark.parametrize("with_prior", [False, True])
def test_cross_entropy_is_equation_3_with_the_prior_of_equation_5(with_prior: bool) -> None:
    z = draw(M, B, K).requires_grad_()
    y = torch.tensor([[0, 4, 4, 1], [2, 2, 2, 2], [3, 0, 1, 2]])
    prior_MK = draw(M, K, seed=1).log_softmax(1) if with_prior else None
    loss_M = cross_entropy(z, y, prior_MK)
    literal_pi = torch.zeros(M, K) if prior_MK is None else prior_MK
    assert loss_M.tolist() == pytest.approx([literal_cross_entropy(z[m], y[m], literal_pi[m]) for m in range(M)])
    torch.testing.assert_close(cross_entropy_grad(z, y, prior_MK), gradient(loss_M, z), atol=1e-12, rtol=0)


def test_distillation_is_equation_6() -> None:
    z, zt = draw(M, B, K).requires_grad_(), draw(M, B, K, seed=1)
    loss_M = kd(z, zt, T_M)
    assert loss_M.tolist() == pytest.approx([literal_kd(z[m], zt[m], float(T_M[m])) for m in range(M)])
    torch.testing.assert_close(kd_grad(z, zt, T_M), gradient(loss_M, z), atol=1e-12, rtol=0)


def test_distillation_pulls_nowhere_where_student_and_teacher_agree() -> None:
    z = draw(M, B, K)
    assert kd_grad(z, z, T_M).abs().max() == 0
    assert dakd(z, z, LOST)[1].abs().max() < 1e-15


def test_dakd_is_equations_7_and_8() -> None:
    z, zt = draw(M, B, K).requires_grad_(), draw(M, B, K, seed=1)
    loss_M, grad_MBm = dakd(z, zt, LOST)
    literal = [literal_dakd(z[m], zt[m], float(T_M[m]), COUNTS, KEPT) for m in range(M)]
    assert loss_M.tolist() == pytest.approx(literal, rel=1e-12)
    torch.testing.assert_close(grad_MBm, gradient(loss_M, z), atol=1e-12, rtol=0)


def test_a_class_that_lost_nothing_has_no_imbalanced_part() -> None:
    all_imbalanced = LostData(0.0, LOST.share_m)
    _, grad_MBm = dakd(draw(M, B, K), draw(M, B, K, seed=1), all_imbalanced)
    lost_something = torch.tensor([n > e for n, e in zip(COUNTS, KEPT, strict=True)])
    assert grad_MBm[..., ~lost_something].abs().max() == 0
    assert (grad_MBm[..., lost_something] != 0).all()


def test_nothing_lost_is_plain_distillation() -> None:
    counts = torch.tensor([5.0, 20.0, 3.0], dtype=torch.float64)
    z, zt = draw(M, B, 3), draw(M, B, 3, seed=1)
    loss_M, grad_MBm = dakd(z, zt, lost_data(OldClasses(counts, counts)))
    torch.testing.assert_close(loss_M, kd(z, zt, T_M), atol=0, rtol=0)
    torch.testing.assert_close(grad_MBm, kd_grad(z, zt, T_M), atol=0, rtol=0)


def test_one_old_class_does_not_divide_by_log_1() -> None:
    lost = lost_data(OldClasses(torch.tensor([50.0]), torch.tensor([20.0])))
    assert lost.balance == 1
    assert lost.share_m.tolist() == [1]


def test_equal_losses_are_balanced_and_one_lost_class_is_not() -> None:
    counts, kept = torch.full((4,), 60.0, dtype=torch.float64), torch.full((4,), 20.0, dtype=torch.float64)
    assert lost_data(OldClasses(counts, kept)).balance == pytest.approx(1)
    counts[1:] = 20
    assert lost_data(OldClasses(counts, kept, entropy_smoothing=0)).balance == 0
    assert lost_data(OldClasses(counts, kept)).balance < 0.001


def test_shares_have_unit_norm_or_largest_one() -> None:
    counts, kept = torch.tensor(COUNTS), torch.tensor(KEPT)
    assert float(lost_data(OldClasses(counts, kept)).share_m.norm()) == pytest.approx(1)
    assert float(lost_data(OldClasses(counts, kept, "max")).share_m.max()) == 1
