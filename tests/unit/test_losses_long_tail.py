"""The long-tail losses: values in loops, gradients in closed form, what they reduce to, and the ends of float32."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.data.long_tail import profile
from trainer.losses.class_balanced import ClassBalanced
from trainer.losses.class_weights import (
    deferral,
    effective_number_weights,
    inverse_frequency_weights,
    weighted_mean,
)
from trainer.losses.cross_entropy import cross_entropy, image_cross_entropy, log_prior
from trainer.losses.eql_v2 import eql_v2, gates, gradient_ratio, weighted_gradients
from trainer.losses.focal import focal
from trainer.losses.influence_balanced import influence, influence_balanced
from trainer.losses.ldam import ldam, margins
from trainer.losses.mixed_labels import mixed_cross_entropy
from trainer.losses.sigmoid_focal import sigmoid_focal
from trainer.nets.heads import rare_bias

M, B, K, D = 2, 3, 4, 5
COUNTS = torch.tensor([40.0, 9.0, 3.0, 25.0], dtype=torch.float64)
ABSENT = torch.tensor([40.0, 0.0, 3.0, 25.0], dtype=torch.float64)
LABELS = torch.tensor([[0, 3, 3], [2, 2, 2]])  # class 1 is in no batch; the second member's batch has one class
PARTNERS = torch.tensor([[2, 2, 1], [0, 3, 1]])
SHARE = torch.tensor([0.7, 0.25], dtype=torch.float64)
Y = F.one_hot(LABELS, K).double()


def float64(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 2


Z, H = draw(M, B, K), draw(M, B, D, seed=1).relu()
WEIGHTS = draw(M, K, seed=2).abs() + 0.1
GAMMA = float64(0.5, 2.0)


def gradient(loss_M: Tensor, leaf: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(loss_M.sum(), leaf)
    return found


def ib(
    z: Tensor, h: Tensor, *, detach: bool, gamma: float = 0.0, weights: Tensor = WEIGHTS, weighted_p: bool = False
) -> Tensor:
    ones_M = torch.ones(len(z), dtype=z.dtype)
    settings = {"strength_M": 1000 * ones_M, "epsilon_M": 1e-3 * ones_M, "gamma_M": gamma * ones_M}
    return influence_balanced(z, LABELS, h, weights.to(z.dtype), detach=detach, weighted_p=weighted_p, **settings)


POSITIVE, NEGATIVE = gates(draw(M, K, seed=3).abs(), float64(12, 5), float64(0.8, 1), float64(4, 2))
MARGINS = margins(COUNTS, float64(0.5, 0.3))

# Each loss as a function of the logits alone, in any precision.
LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "weighted over weights": lambda z: weighted_mean(image_cross_entropy(z, LABELS), WEIGHTS.to(z).gather(1, LABELS)),
    "weighted over images": lambda z: ClassBalanced(WEIGHTS.to(z))(z, LABELS),
    "focal": lambda z: focal(z, LABELS, GAMMA.to(z)),
    "ldam": lambda z: ldam(z, LABELS, MARGINS.to(z), float64(30, 2).to(z)),
    "ldam weighted": lambda z: ldam(z, LABELS, MARGINS.to(z), float64(30, 2).to(z), WEIGHTS.to(z)),
    "sigmoid focal": lambda z: sigmoid_focal(z, LABELS, GAMMA.to(z), WEIGHTS.to(z)),
    "balanced softmax": lambda z: cross_entropy(z, LABELS, log_prior(COUNTS).to(z).expand(M, -1)),
    "balanced softmax, a class without images": lambda z: cross_entropy(
        z, LABELS, log_prior(ABSENT).to(z).expand(M, -1)
    ),
    "influence balanced": lambda z: ib(z, H.to(z), detach=False),
    "influence balanced, detached": lambda z: ib(z, H.to(z), detach=True),
    "influence balanced, focal": lambda z: ib(z, H.to(z), detach=False, gamma=1.0),
    "influence balanced, focal by the weighted p": lambda z: ib(z, H.to(z), detach=False, gamma=1.0, weighted_p=True),
    "influence balanced, no features": lambda z: ib(z, torch.zeros(M, B, D).to(z), detach=False),
    "eql v2": lambda z: eql_v2(z, LABELS, POSITIVE.to(z), NEGATIVE.to(z)),
    "mixed": lambda z: mixed_cross_entropy(z, LABELS, WEIGHTS.to(z), PARTNERS, SHARE.to(z)),
}


# -- values, word for word ----------------------------------------------------------------------------


def log_softmax(z: list[float]) -> list[float]:
    return [v - math.log(sum(math.exp(w) for w in z)) for v in z]


def sigmoid(v: float) -> float:
    return 1 / (1 + math.exp(-v))


def literal(name: str, m: int) -> float:  # noqa: PLR0911  (one a loss)
    """One member's loss from the definitions, image by image."""
    z, y = Z[m].tolist(), LABELS[m].tolist()
    logs = [log_softmax(row) for row in z]
    w, gamma = WEIGHTS[m].tolist(), float(GAMMA[m])
    ce = [-logs[b][y[b]] for b in range(B)]
    if name == "weighted over weights":
        return sum(w[y[b]] * ce[b] for b in range(B)) / sum(w[y[b]] for b in range(B))
    if name == "weighted over images":
        return sum(w[y[b]] * ce[b] for b in range(B)) / B
    if name == "focal":
        return sum((1 - math.exp(-ce[b])) ** gamma * ce[b] for b in range(B)) / B
    if name.startswith("ldam"):
        s, n = (30, 2)[m], COUNTS.tolist()
        margin = [(0.5, 0.3)[m] * (min(n) / n[k]) ** 0.25 for k in range(K)]
        shifted = [[s * (z[b][k] - (margin[k] if k == y[b] else 0)) for k in range(K)] for b in range(B)]
        losses = [-log_softmax(shifted[b])[y[b]] for b in range(B)]
        u = [w[y[b]] if "weighted" in name else 1.0 for b in range(B)]
        return sum(u[b] * losses[b] for b in range(B)) / sum(u)
    if name == "sigmoid focal":
        total = 0.0
        for b in range(B):
            for k in range(K):
                q = sigmoid(z[b][k]) if k == y[b] else 1 - sigmoid(z[b][k])
                total -= w[y[b]] * (1 - q) ** gamma * math.log(q)
        return total / B
    if name == "balanced softmax":
        n = COUNTS.tolist()
        return -sum(math.log(n[y[b]] * math.exp(z[b][y[b]]) / np.dot(n, np.exp(z[b]))) for b in range(B)) / B
    if name.startswith("influence balanced"):
        h = H[m].abs().sum(1).tolist()
        onehot = np.eye(K)[y]
        g = [np.abs(np.exp(logs[b]) - onehot[b]).sum() * h[b] for b in range(B)]
        powers = [w[y[b]] if "weighted" in name else 1 for b in range(B)]
        focals = [(1 - math.exp(-ce[b]) ** powers[b]) if "focal" in name else 1 for b in range(B)]
        return sum(w[y[b]] * 1000 / (g[b] + 1e-3) * focals[b] * ce[b] for b in range(B)) / B
    if name == "eql v2":
        total = 0.0
        for b in range(B):
            for k in range(K):
                own = k == y[b]
                total -= float((POSITIVE if own else NEGATIVE)[m, k]) * math.log(sigmoid(z[b][k] if own else -z[b][k]))
        return total / B
    assert name == "mixed"
    p, share = PARTNERS[m].tolist(), float(SHARE[m])
    over = sum(share * w[y[b]] + (1 - share) * w[p[b]] for b in range(B))
    return sum(share * w[y[b]] * ce[b] - (1 - share) * w[p[b]] * logs[b][p[b]] for b in range(B)) / over


UNWRITTEN = {"balanced softmax, a class without images", "influence balanced, no features"}


@pytest.mark.parametrize("name", sorted(LOSSES.keys() - UNWRITTEN))
def test_the_value_is_the_definition(name: str) -> None:
    assert LOSSES[name](Z).tolist() == pytest.approx([literal(name, m) for m in range(M)], rel=1e-12)


# -- gradients ----------------------------------------------------------------------------------------


def closed_form(name: str) -> Tensor:  # noqa: PLR0911  (one a loss)
    """Of the sum over members, in the logits."""
    q = Z.softmax(2)
    p = (q * Y).sum(2, keepdim=True)
    w_y = WEIGHTS.gather(1, LABELS).unsqueeze(2)
    gamma = GAMMA[:, None, None]
    g = 2 * (1 - p) * H.sum(2, keepdim=True)
    if name == "weighted over weights":
        return w_y * (q - Y) / w_y.sum(1, keepdim=True)
    if name == "weighted over images":
        return w_y * (q - Y) / B
    if name == "focal":
        return (q - Y) / B * ((1 - p) ** gamma - gamma * p * (1 - p) ** (gamma - 1) * p.log())
    if name == "ldam":
        s = float64(30, 2)[:, None, None]
        return s * ((s * (Z - Y * MARGINS.unsqueeze(1))).softmax(2) - Y) / B
    if name == "sigmoid focal":
        pt = torch.where(Y > 0, Z.sigmoid(), 1 - Z.sigmoid())
        slope = (1 - pt) ** (gamma + 1) - gamma * pt * (1 - pt) ** gamma * pt.log()
        return w_y / B * (1 - 2 * Y) * slope
    if name == "balanced softmax":
        scores = COUNTS * Z.exp()
        return (scores / scores.sum(2, keepdim=True) - Y) / B
    if name.startswith("influence balanced"):
        through = 1.0 if "detached" in name else 1 - 2 * H.sum(2, keepdim=True) * p * -p.log() / (g + 1e-3)
        return w_y * 1000 / (B * (g + 1e-3)) * (q - Y) * through
    if name == "eql v2":
        pull, push = POSITIVE.unsqueeze(1) * (Z.sigmoid() - 1), NEGATIVE.unsqueeze(1) * Z.sigmoid()
        return torch.where(Y > 0, pull, push) / B
    raise KeyError(name)


CLOSED = [
    "weighted over weights",
    "weighted over images",
    "focal",
    "ldam",
    "sigmoid focal",
    "balanced softmax",
    "influence balanced",
    "influence balanced, detached",
    "eql v2",
]


@pytest.mark.parametrize("name", CLOSED)
def test_the_gradient_is_the_closed_form(name: str) -> None:
    z = Z.clone().requires_grad_()
    found = gradient(LOSSES[name](z), z)
    torch.testing.assert_close(found, closed_form(name), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("name", sorted(LOSSES.keys() - {"influence balanced, detached"}))
def test_gradcheck(name: str) -> None:
    assert torch.autograd.gradcheck(LOSSES[name], Z.clone().requires_grad_())


def test_the_mixed_gradient_of_cross_entropy() -> None:
    z = Z.clone().requires_grad_()
    share = SHARE[:, None, None]
    wanted = (Z.softmax(2) - share * Y - (1 - share) * F.one_hot(PARTNERS, K)) / B
    torch.testing.assert_close(
        gradient(mixed_cross_entropy(z, LABELS, ONES, PARTNERS, SHARE), z), wanted, atol=1e-12, rtol=0
    )


def test_influence_is_the_norm_of_the_heads_gradient() -> None:
    rows = draw(K, D, seed=5).requires_grad_()
    for b in range(B):
        grad = gradient(F.cross_entropy(H[0, b] @ rows.T, LABELS[0, b]), rows)
        ce = image_cross_entropy((H[:1, b : b + 1] @ rows.T).detach(), LABELS[:1, b : b + 1])
        assert float(influence(ce, H[:1, b : b + 1])) == pytest.approx(float(grad.abs().sum()), rel=1e-12)


def test_undetached_influence_rewards_large_features() -> None:
    h = (H + 0.1).requires_grad_()
    assert (gradient(ib(Z, h, detach=False), h) < 0).all()
    assert not ib(Z, h, detach=True).requires_grad
    z, h = Z.clone().requires_grad_(), H + 0.1
    factor = gradient(ib(z, h, detach=False), z) / gradient(ib(z, h, detach=True), z)
    assert ((factor > 0) & (factor < 1)).all()


# -- what they reduce to ------------------------------------------------------------------------------


def summed_bce() -> Tensor:
    return F.binary_cross_entropy_with_logits(Z, Y, reduction="none").sum(2).mean(1)


ONES = torch.ones(M, K, dtype=torch.float64)
ZERO = torch.zeros(M, dtype=torch.float64)
REDUCED: dict[str, tuple[Callable[[], Tensor], Callable[[], Tensor]]] = {
    "focal, gamma 0": (lambda: focal(Z, LABELS, ZERO), lambda: cross_entropy(Z, LABELS)),
    "ldam, no margin": (
        lambda: ldam(Z, LABELS, margins(COUNTS, ZERO), ZERO + 30),
        lambda: cross_entropy(30 * Z, LABELS),
    ),
    "ldam, unit weights": (
        lambda: ldam(Z, LABELS, MARGINS, ZERO + 30, ONES),
        lambda: ldam(Z, LABELS, MARGINS, ZERO + 30),
    ),
    "balanced softmax, equal counts": (
        lambda: cross_entropy(Z, LABELS, log_prior(torch.full((K,), 7.0)).double().expand(M, -1)),
        lambda: cross_entropy(Z, LABELS),
    ),
    "balanced softmax, counts of another unit": (
        lambda: cross_entropy(Z, LABELS, (1000 * COUNTS).log().expand(M, -1)),
        lambda: cross_entropy(Z, LABELS, log_prior(COUNTS).expand(M, -1)),
    ),
    "sigmoid focal, gamma 0 and beta 0": (
        lambda: sigmoid_focal(Z, LABELS, ZERO, effective_number_weights(COUNTS, ZERO)),
        summed_bce,
    ),
    "eql v2, open gates": (lambda: eql_v2(Z, LABELS, ONES, ONES), summed_bce),
    "influence balanced, focal 0": (
        lambda: ib(Z, H, detach=False, gamma=0),
        lambda: (
            WEIGHTS.gather(1, LABELS)
            * 1000
            / (influence(image_cross_entropy(Z, LABELS), H) + 1e-3)
            * image_cross_entropy(Z, LABELS)
        ).mean(1),
    ),
    "mixed, nothing pasted": (
        lambda: mixed_cross_entropy(Z, LABELS, ONES, PARTNERS, ZERO + 1),
        lambda: cross_entropy(Z, LABELS),
    ),
}


@pytest.mark.parametrize("name", REDUCED)
def test_reductions(name: str) -> None:
    found, wanted = REDUCED[name]
    torch.testing.assert_close(found(), wanted(), atol=1e-14, rtol=1e-14)


def test_focal_with_gamma_0_is_cross_entropy_bit_for_bit() -> None:
    assert torch.equal(focal(Z, LABELS, ZERO), cross_entropy(Z, LABELS))


def test_over_weights_one_class_has_no_weight() -> None:
    torch.testing.assert_close(LOSSES["weighted over weights"](Z)[1], cross_entropy(Z, LABELS)[1])
    assert not torch.allclose(LOSSES["weighted over images"](Z)[1], cross_entropy(Z, LABELS)[1])


def test_a_margin_moves_the_label_alone() -> None:
    more = ldam(Z, LABELS, MARGINS + 0.1, ZERO + 30)
    assert (more > ldam(Z, LABELS, MARGINS, ZERO + 30)).all()


# -- ends ---------------------------------------------------------------------------------------------

ENDS = {
    "nothing": torch.zeros(M, B, K),
    "sure and right": 2e4 * Y.float() - 1e4,
    "sure and wrong": 1e4 - 2e4 * Y.float(),
    "all high": torch.full((M, B, K), 1e4),
    "all low": torch.full((M, B, K), -1e4),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("end", ENDS)
def test_finite_in_float32(name: str, end: str) -> None:
    z = ENDS[end].clone().requires_grad_()
    loss_M = LOSSES[name](z)
    assert loss_M.dtype == torch.float32
    assert loss_M.isfinite().all()
    assert gradient(loss_M, z).isfinite().all()


@pytest.mark.parametrize("name", ["focal", "sigmoid focal", "influence balanced", "weighted over images"])
def test_sure_and_right_costs_nothing(name: str) -> None:
    assert LOSSES[name](ENDS["sure and right"]).abs().max() == 0


# -- class weights ------------------------------------------------------------------------------------

CIFAR = torch.tensor(profile(100, 500, 100), dtype=torch.float64)


def test_effective_number_weights_of_cifar100_lt() -> None:
    w_MK = effective_number_weights(CIFAR, float64(0.9999, 0.999, 0.99, 0.9))
    assert w_MK[0, [0, -1]].tolist() == pytest.approx([0.044876, 4.378313], rel=1e-5)
    assert (w_MK[:, -1] / w_MK[:, 0]).tolist() == pytest.approx([97.57, 78.88, 20.27, 2.44], abs=5e-3)
    assert w_MK.sum(1).tolist() == pytest.approx([100] * 4)
    inverse_K = inverse_frequency_weights(CIFAR)
    assert inverse_K[[0, -1]].tolist() == pytest.approx([0.043820, 4.382023], rel=1e-5)


def test_effective_numbers_between_their_ends() -> None:
    assert torch.equal(effective_number_weights(CIFAR, ZERO), torch.ones(M, 100, dtype=torch.float64))
    near_1 = effective_number_weights(CIFAR, float64(1 - 1e-10))[0]
    torch.testing.assert_close(near_1, inverse_frequency_weights(CIFAR), rtol=1e-6, atol=0)
    balanced = effective_number_weights(torch.full((K,), 9.0), float64(0.0, 0.9, 0.9999))
    torch.testing.assert_close(balanced, torch.ones_like(balanced))


def test_a_class_without_images_has_weight_0_and_no_margin() -> None:
    there = ABSENT > 0
    for w_K in (effective_number_weights(ABSENT, float64(0.9999))[0], inverse_frequency_weights(ABSENT)):
        assert w_K[1] == 0
        assert float(w_K.sum()) == pytest.approx(3)
    w_K = effective_number_weights(ABSENT, float64(0.9999))[0]
    torch.testing.assert_close(w_K[there], effective_number_weights(ABSENT[there], float64(0.9999))[0])
    assert margins(ABSENT, float64(0.5))[0, 1] == 0
    torch.testing.assert_close(margins(ABSENT, float64(0.5))[:, there], margins(ABSENT[there], float64(0.5)))


def test_a_class_without_images_is_no_rival() -> None:
    z = Z.clone().requires_grad_()
    grad = gradient(LOSSES["balanced softmax, a class without images"](z), z)
    assert grad[..., 1].abs().max() == 0
    there = [0, 2, 3]
    small = cross_entropy(Z[..., there], torch.tensor([[0, 2, 2], [1, 1, 1]]), log_prior(ABSENT[there]).expand(M, -1))
    torch.testing.assert_close(LOSSES["balanced softmax, a class without images"](Z), small)


def test_margins_of_cifar100_lt() -> None:
    for ratio, head in ((100, 0.15811), (50, 0.18803), (10, 0.28117)):
        found = margins(torch.tensor(profile(100, 500, ratio)), float64(0.5))[0]
        assert found[0] == pytest.approx(head, abs=5e-6)
        assert found[-1] == found.max() == 0.5


def test_weights_are_deferred_to_the_first_fall_of_the_rate() -> None:
    assert deferral((160, 180), 200) == 160
    assert deferral((), 100) == 80


# -- where training starts ----------------------------------------------------------------------------


def test_balanced_softmax_without_logits_pushes_by_frequency() -> None:
    z = torch.zeros(1, 1, K, dtype=torch.float64, requires_grad=True)
    grad = gradient(cross_entropy(z, torch.tensor([[0]]), log_prior(COUNTS)[None]), z)[0, 0]
    torch.testing.assert_close(grad[1:], (COUNTS / COUNTS.sum())[1:])


def test_a_bias_alone_stands_still_at_the_uniform_posterior() -> None:
    labels = torch.repeat_interleave(torch.arange(K), COUNTS.long())[None]
    bias = torch.zeros(1, 1, K, dtype=torch.float64, requires_grad=True)
    z = bias.expand(1, labels.shape[1], K)
    assert gradient(cross_entropy(z, labels, log_prior(COUNTS)[None]), bias).abs().max() < 1e-15
    assert gradient(cross_entropy(z, labels), bias).abs().max() > 0.1


def test_sigmoids_start_at_the_frequency_of_one_class() -> None:
    assert rare_bias(100) == pytest.approx(-4.59512, abs=5e-6)
    assert (rare_bias(1), rare_bias(2)) == (0, 0)
    at_bias = torch.full((1, 1, 100), rare_bias(100), dtype=torch.float64)
    plain = {"gamma_M": float64(0), "weights_MK": torch.ones(1, 100, dtype=torch.float64)}
    labels = torch.tensor([[3]])
    assert float(sigmoid_focal(torch.zeros_like(at_bias), labels, **plain)) == pytest.approx(100 * math.log(2))
    assert float(sigmoid_focal(at_bias, labels, **plain)) == pytest.approx(-math.log(0.01) - 99 * math.log(0.99))


# -- equalization -------------------------------------------------------------------------------------


def published_gates(*ratios: float) -> tuple[Tensor, Tensor]:
    return gates(float64(*ratios)[None], float64(12), float64(0.8), float64(4))


def test_gates_at_the_published_constants() -> None:
    positive, negative = published_gates(0, 0.8, 1, 100)
    assert negative[0].tolist() == pytest.approx([6.7724e-5, 0.5, 0.91683, 1], rel=1e-5)
    assert float(positive[0, 0]) == pytest.approx(4.9997, abs=5e-5)
    assert float(positive[0, 3]) == pytest.approx(1)


def ratio_after_a_balanced_batch(bias: float) -> Tensor:
    z, labels = torch.full((1, 100, 100), bias, dtype=torch.float64), torch.arange(100)[None]
    return gradient_ratio(*weighted_gradients(z, labels, *published_gates(*[100.0] * 100)))[0]


def test_balanced_labels_keep_the_gates_open_from_the_right_start() -> None:
    at_prior = ratio_after_a_balanced_batch(rare_bias(100))
    assert at_prior.tolist() == pytest.approx([1] * 100)
    assert published_gates(*at_prior.tolist())[1][0, 0] == pytest.approx(0.917, abs=5e-4)
    assert ratio_after_a_balanced_batch(0.0).tolist() == pytest.approx([1 / 99] * 100)


def test_accumulated_are_the_gradients_of_the_loss() -> None:
    z = Z.clone().requires_grad_()
    grad = B * gradient(eql_v2(z, LABELS, POSITIVE, NEGATIVE), z)
    pull, push = weighted_gradients(Z, LABELS, POSITIVE, NEGATIVE)
    torch.testing.assert_close(pull, (Y * grad.abs()).sum(1))
    torch.testing.assert_close(push, ((1 - Y) * grad.abs()).sum(1))
    # Class 1 has no image here: it is all push, and its gate shuts.
    assert pull[0, 1] == 0
    assert published_gates(*gradient_ratio(pull, push)[0].tolist())[1][0, 1] < 1e-4
