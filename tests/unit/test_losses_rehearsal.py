"""Losses and distillations of iCaRL, EEIL, LUCIR and PODNet, against a restatement in loops; and what cancels."""

import math

import pytest
import torch
from torch import Tensor

from trainer.distill.features import cosine_distance, pooled_distance
from trainer.distill.taskwise import headwise_bce
from trainer.losses.binary_cross_entropy import sigmoid_cross_entropy
from trainer.losses.cross_entropy import cross_entropy
from trainer.losses.margin_ranking import margin_ranking
from trainer.losses.nca import nca

M, B, K, OLD = 2, 5, 6, 4
MARGIN_M = torch.tensor([0.5, 2.0], dtype=torch.float64)
LABELS_MB = torch.tensor([[0, 5, 3, 4, 0], [4, 5, 5, 2, 4]])


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def close(found_M: Tensor, expected: list[float]) -> None:
    assert found_M.tolist() == pytest.approx(expected, rel=1e-12, abs=1e-12)


# -- iCaRL -------------------------------------------------------------------------------------------------


def test_sigmoid_cross_entropy_sums_over_classes() -> None:
    z, target = draw(M, B, K), draw(M, B, K, seed=1).sigmoid()

    def literal(m: int) -> float:
        total = 0.0
        for b in range(B):
            for k in range(K):
                p, q = 1 / (1 + math.exp(-float(z[m, b, k]))), float(target[m, b, k])
                total -= q * math.log(p) + (1 - q) * math.log(1 - p)
        return total / B

    close(sigmoid_cross_entropy(z, target), [literal(m) for m in range(M)])


def test_sigmoid_cross_entropy_stands_still_at_its_target() -> None:
    z = draw(M, B, K).requires_grad_()
    sigmoid_cross_entropy(z, z.detach().sigmoid()).sum().backward()
    assert z.grad is not None
    torch.testing.assert_close(z.grad, torch.zeros_like(z), rtol=0, atol=1e-15)


# -- EEIL --------------------------------------------------------------------------------------------------


def literal_headwise(z: Tensor, zt: Tensor, sizes: list[int], T: float) -> float:
    total, start = 0.0, 0
    for size in sizes:
        for b in range(B):
            p = [math.exp(float(v) / T) for v in z[b, start : start + size]]
            q = [math.exp(float(v) / T) for v in zt[b, start : start + size]]
            for j in range(size):
                share, taught = p[j] / sum(p), q[j] / sum(q)
                total -= (taught * math.log(share) + (1 - taught) * math.log(1 - share)) / (B * size)
        start += size
    return total


@pytest.mark.parametrize("sizes", [[4], [2, 2], [2], [2, 3]])
def test_headwise_distillation_is_a_sum_over_tasks_of_means(sizes: list[int]) -> None:
    z, zt = draw(M, B, K), draw(M, B, 5, seed=1)
    expected = [literal_headwise(z[m], zt[m], sizes, float(MARGIN_M[m])) for m in range(M)]
    close(headwise_bce(z, zt, sizes, temperature_M=MARGIN_M), expected)


def test_headwise_distillation_knows_nothing_of_offsets_between_tasks() -> None:
    z, zt = draw(M, B, 4), draw(M, B, 4, seed=1)
    shifted = z + torch.tensor([3.0, 3.0, -5.0, -5.0])
    torch.testing.assert_close(headwise_bce(shifted, zt, [2, 2], MARGIN_M), headwise_bce(z, zt, [2, 2], MARGIN_M))


def test_headwise_distillation_of_tasks_of_one_class_is_nothing() -> None:
    z = draw(M, B, 3).requires_grad_()
    found_M = headwise_bce(z, draw(M, B, 3, seed=1), [1, 1, 1], MARGIN_M)
    found_M.sum().backward()
    assert z.grad is not None
    assert found_M.tolist() == [0, 0]
    assert bool((z.grad == 0).all())


@pytest.mark.parametrize("far", [50.0, 1000.0])
def test_headwise_distillation_is_finite_where_a_softmax_is_full(far: float) -> None:
    z = torch.zeros(M, B, 4, dtype=torch.float32)
    z[..., 0] = far
    z.requires_grad_()
    found_M = headwise_bce(z, -z.detach(), [2, 2], MARGIN_M.float())
    found_M.sum().backward()
    assert z.grad is not None
    assert bool(found_M.isfinite().all())
    assert bool(z.grad.isfinite().all())


# -- LUCIR -------------------------------------------------------------------------------------------------


def literal_ranking(s: Tensor, y: list[int], margin: float, nearest: int) -> float:
    terms = []
    for b, label in enumerate(y):
        if label < OLD:
            rivals = sorted(s[b, OLD:].tolist(), reverse=True)[:nearest]
            terms += [max(0.0, margin - float(s[b, label]) + rival) for rival in rivals]
    return sum(terms) / len(terms) if terms else 0.0


@pytest.mark.parametrize("nearest", [1, 2, 7])
def test_margin_ranking_is_the_mean_over_exemplars_and_their_nearest_new_classes(nearest: int) -> None:
    s = draw(M, B, K).tanh()
    expected = [literal_ranking(s[m], LABELS_MB[m].tolist(), float(MARGIN_M[m]), nearest) for m in range(M)]
    assert all(value > 0 for value in expected)
    close(margin_ranking(s, LABELS_MB, OLD, MARGIN_M, nearest), expected)


def test_margin_ranking_without_exemplars_is_nothing_and_pulls_at_nothing() -> None:
    s = draw(M, B, K).requires_grad_()
    found_M = margin_ranking(s, torch.full((M, B), OLD), OLD, MARGIN_M, 2)
    found_M.sum().backward()
    assert s.grad is not None
    assert found_M.tolist() == [0, 0]
    assert bool((s.grad == 0).all())


def test_cosine_distance_is_of_directions() -> None:
    x, old = draw(M, B, 7), draw(M, B, 7, seed=1)
    cosine = [[float(x[m, b] @ old[m, b] / (x[m, b].norm() * old[m, b].norm())) for b in range(B)] for m in range(M)]
    close(cosine_distance(x, old), [1 - sum(row) / B for row in cosine])
    close(cosine_distance(3 * x, x), [0, 0])
    close(cosine_distance(-x, x), [2, 2])


# -- PODNet ------------------------------------------------------------------------------------------------

SHAPES = [(3, 4, 6), (5, 2, 2)]


def maps(seed: int) -> list[Tensor]:
    return [draw(B, M * c, h, w, seed=seed + i) for i, (c, h, w) in enumerate(SHAPES)]


def literal_axes(x: Tensor) -> list[float]:
    channels, height, width = x.shape
    rows = [sum(float(x[c, h, w]) ** 2 for w in range(width)) for c in range(channels) for h in range(height)]
    columns = [sum(float(x[c, h, w]) ** 2 for h in range(height)) for c in range(channels) for w in range(width)]
    length = math.sqrt(sum(v * v for v in rows + columns))
    return [v / length for v in rows + columns]


def test_pooled_distance_compares_sums_along_the_axes() -> None:
    own, old = maps(0), maps(10)

    def literal(m: int) -> float:
        total = 0.0
        for x, xt, (c, _, _) in zip(own, old, SHAPES, strict=True):
            for b in range(B):
                mine, taught = (literal_axes(t[b, m * c : (m + 1) * c]) for t in (x, xt))
                total += math.dist(mine, taught) / B
        return total / len(SHAPES)

    close(pooled_distance(own, old, M), [literal(m) for m in range(M)])


def test_pooled_distance_of_equal_maps_is_nothing_and_its_gradient_finite() -> None:
    own = [x.requires_grad_() for x in maps(0)]
    found_M = pooled_distance(own, [x.detach() for x in own], M)
    found_M.sum().backward()
    assert found_M.tolist() == [0, 0]
    assert all(x.grad is not None and bool(x.grad.isfinite().all()) for x in own)


def test_pooled_distance_knows_no_scale_but_the_place() -> None:
    own, old = maps(0), maps(10)
    torch.testing.assert_close(pooled_distance([7 * x for x in own], old, M), pooled_distance(own, old, M))
    moved = [x.roll(1, dims=3) for x in own]
    assert bool((pooled_distance(moved, own, M) > 0.01).all())


def test_nca_leaves_the_own_class_out_and_keeps_a_margin() -> None:
    z = draw(M, B, K) * 3

    def literal(m: int) -> float:
        total = 0.0
        for b in range(B):
            y = int(LABELS_MB[m, b])
            rivals = sum(math.exp(float(z[m, b, k])) for k in range(K) if k != y)
            total += max(0.0, -(float(z[m, b, y]) - float(MARGIN_M[m]) - math.log(rivals)))
        return total / B

    close(nca(z, LABELS_MB, MARGIN_M), [literal(m) for m in range(M)])
    assert bool((nca(z, LABELS_MB, MARGIN_M + 1) > nca(z, LABELS_MB, MARGIN_M)).all())


def test_a_margin_taken_off_all_logits_would_cancel() -> None:
    """Why the released code's loss is cross-entropy, and ours is not."""
    z = draw(M, B, K)
    everywhere = cross_entropy(z - MARGIN_M[:, None, None], LABELS_MB)
    torch.testing.assert_close(everywhere, cross_entropy(z, LABELS_MB))
    assert not torch.allclose(nca(z, LABELS_MB, MARGIN_M), everywhere)


def test_nca_of_a_single_class_is_nothing() -> None:
    z = draw(M, B, 1).requires_grad_()
    found_M = nca(z, torch.zeros(M, B, dtype=torch.int64), MARGIN_M)
    found_M.sum().backward()
    assert z.grad is not None
    assert found_M.tolist() == [0, 0]
    assert bool((z.grad == 0).all())
