"""Losses that follow the steps, against their equations word for word and the numbers of their papers."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from support.states import checkpoints, trained
from trainer.losses.ada_prior import AdaPrior
from trainer.losses.cross_entropy import cross_entropy, cross_entropy_grad, log_prior
from trainer.losses.tal import Decay, Tal, log_rest
from trainer.methods.base import METHODS
from trainer.nets.network import Outputs
from trainer.nets.resnet import Maps

F64 = torch.float64


def members(*values: float) -> Tensor:
    return torch.tensor(values, dtype=F64)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


# -- TAL ---------------------------------------------------------------------------------------------------

LOGITS = torch.tensor([[1, 0, 0], [0, 2, 1], [0, 0, 0], [0.5, 0.5, 0.5]], dtype=F64)
LABELS = torch.tensor([0, 1, 2, 0])


def tal(scores: list[list[float]], memory: Tensor, steepness: Tensor, decay: Decay = "normalized") -> Tal:
    return Tal.of(len(scores[0]), memory, steepness, F64, decay).keeping(torch.tensor(scores, dtype=F64))


def alpha(classes: int, steepness: float, decay: Decay = "normalized") -> float:
    r_M = members(steepness)
    return float((-r_M * log_rest(classes, r_M, decay)).exp())


@pytest.mark.parametrize(
    ("classes", "steepness", "decay", "expected"),
    [
        (10, 1.0, "normalized", 11.0),
        (10, 1.0, "vanilla", 19.0),
        (10, 0.2, "normalized", 1.8513),
        (100, 0.2, "normalized", 2.7496),
        (10, 0.5, "normalized", 3.7016),
        (100, 0.5, "normalized", 10.5125),
        (10, 2.0, "normalized", 101.990),
        (100, 2.0, "normalized", 10001.9999),
        (100, 0.5, "vanilla", 100.0),
    ],
)
def test_weights_are_aligned(classes: int, steepness: float, decay: Decay, expected: float) -> None:
    assert alpha(classes, steepness, decay) == pytest.approx(expected, rel=2e-5)


@pytest.mark.parametrize(
    ("decay", "mean", "scores"),
    [
        ("normalized", 0.605076, [0.4375, 0.1875, 0.125]),
        ("vanilla", 0.700479, [0.375, 0.15, 0.125]),
    ],
)
def test_tal_by_hand(decay: Decay, mean: float, scores: list[float]) -> None:
    loss = tal([[0.5, 0.2, 0]], members(0.5), members(1.0), decay)
    assert float(loss(LOGITS[None], LABELS[None])) == pytest.approx(mean, abs=1e-6)
    loss.update(LOGITS[None], LABELS[None])
    assert loss.kept_MK[0].tolist() == pytest.approx(scores, abs=1e-12)


def test_tal_word_for_word_and_members_do_not_mix() -> None:
    scores, memory, steepness = [[0.4, 3.0, 0.0], [5.0, 0.1, -0.2]], [0.9, 0.99], [0.5, 2.0]
    logits_MBK, labels_MB = draw(2, 4, 3), torch.tensor([[0, 1, 2, 0], [2, 2, 1, 0]])
    loss = tal(scores, members(*memory), members(*steepness))
    found_M = loss(logits_MBK, labels_MB)
    loss.update(logits_MBK, labels_MB)
    for m, (lam, r) in enumerate(zip(memory, steepness, strict=True)):
        w = [(max(q, 0) / (lam / (1 - lam))) ** r for q in scores[m]]
        weight = [max(alpha(3, r) * v, 1e-12) for v in w]
        losses = []
        for b in range(4):
            y, z = int(labels_MB[m, b]), logits_MBK[m, b].tolist()
            rivals = sum(weight[k] * math.exp(z[k]) for k in range(3) if k != y)
            losses.append(math.log(math.exp(z[y]) + rivals) - z[y])
        assert float(found_M[m]) == pytest.approx(sum(losses) / 4, rel=1e-10)
        share = [labels_MB[m].tolist().count(k) / 4 for k in range(3)]
        after = [lam * (q + c - (1 - c) * v / 2) for q, c, v in zip(scores[m], share, w, strict=True)]
        assert loss.kept_MK[m].tolist() == pytest.approx(after, rel=1e-10)


@pytest.mark.parametrize("decay", ["normalized", "vanilla"])
def test_tal_at_rest_is_cross_entropy_and_stays_there(decay: Decay) -> None:
    loss = Tal.of(4, members(0.95), members(2.0), F64, decay, at_rest=True)
    logits_MBK, labels_MB = draw(1, 4, 4), torch.arange(4)[None]
    torch.testing.assert_close(loss(logits_MBK, labels_MB), cross_entropy(logits_MBK, labels_MB), rtol=1e-10, atol=0)
    before = loss.kept_MK.clone()
    loss.update(logits_MBK, labels_MB)
    torch.testing.assert_close(loss.kept_MK, before, rtol=1e-10, atol=0)


def test_tal_of_a_long_tail_settles_at_the_published_equation() -> None:
    counts = [500, 299, 179, 107, 64, 38, 23, 14, 8, 5]
    part_K = torch.tensor(counts, dtype=F64) / sum(counts)
    loss = Tal.of(10, members(0.9), members(1.0), F64)
    expected = 11 * 9 * part_K / (10 - part_K)
    scores_MK = (expected / 11 * 9)[None]  # times the largest score
    found_K = loss.keeping(scores_MK).log_weight_MK().exp()[0]
    torch.testing.assert_close(found_K, expected)
    fall_K = (1 - part_K) * expected / 11 / 9
    torch.testing.assert_close(0.9 * (scores_MK[0] + part_K - fall_K), scores_MK[0])


def test_tal_pushes_by_the_adjusted_softmax() -> None:
    loss = tal([[0.5, 0.2, 0]], members(0.5), members(1.0))
    logits = LOGITS[None].clone().requires_grad_()
    (grad_MBK,) = torch.autograd.grad(loss(logits, LABELS[None]).sum(), logits)
    for b, y in enumerate(LABELS.tolist()):
        weight = [4 * 0.5, 4 * 0.2, 1e-12]
        weight[y] = 1
        raised = [w * math.exp(z) for w, z in zip(weight, LOGITS[b].tolist(), strict=True)]
        expected = [v / sum(raised) - (k == y) for k, v in enumerate(raised)]
        assert (4 * grad_MBK[0, b]).tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("name", "hyperparameters"), [("tal", {}), ("finetune", {"loss": "tal"})])
def test_scores_go_on_from_task_to_task(name: str, hyperparameters: dict[str, Any]) -> None:
    """A new task begins with old classes' scores, new ones at 0: seen after one step of one image."""
    small = {"optim": {"epochs": 1, "batch_size": 64}, "memory": {"per_class": 0}}
    first, second, _ = [content["tal_MK"][0] for content in _kept(name, hyperparameters, **small)]
    old = len(first)
    assert (first > 0).all()
    # One step in which no image is of an old class: they fall by their weight, and decay.
    share = first / 199
    expected = 0.995 * (first - share / (len(second) - 1))
    torch.testing.assert_close(second[:old], expected)
    assert (second[old:] > 0).all()


def _kept(name: str, hyperparameters: dict[str, Any], **changes: Any) -> list[dict[str, Tensor]]:
    contents = trained(name, hyperparameters, **changes)
    return [{k.removeprefix("method_state/"): v for k, v in content.items()} for content in contents]


def test_the_buffer_of_a_chosen_loss_is_in_the_checkpoint_of_a_step() -> None:
    content = checkpoints("finetune", {"loss": "tal"}, every=1)[0]
    assert content["tensors"]["buffer/tal_MK"].shape[0] == 1


def test_the_loss_by_name_has_the_methods_defaults() -> None:
    fields = METHODS.find("tal").model_fields
    assert (fields["memory"].default, fields["steepness"].default) == (Tal.MEMORY, Tal.STEEPNESS)


# -- AdaPrior ----------------------------------------------------------------------------------------------


def ada_prior(prior: list[float], rate: float) -> AdaPrior:
    return AdaPrior(torch.tensor([prior], dtype=F64), members(rate))


def test_the_prior_follows_the_mean_prediction() -> None:
    loss = ada_prior([0.8, 0.2], 0.05)
    logits_MBK = torch.tensor([[[0.5, 0.5], [0.7, 0.3]]], dtype=F64).log()
    loss.update(logits_MBK, torch.tensor([[0, 1]]))
    assert loss.kept_MK[0].tolist() == pytest.approx([0.79, 0.21], abs=1e-12)


def test_ada_prior_by_hand() -> None:
    loss, zero_MBK = ada_prior([0.8, 0.2], 0.05), torch.zeros(1, 1, 2, dtype=F64)
    assert float(loss(zero_MBK, torch.tensor([[0]]))) == pytest.approx(0.223144, abs=1e-6)
    assert float(loss(zero_MBK, torch.tensor([[1]]))) == pytest.approx(1.609438, abs=1e-6)


def test_ada_prior_pushes_by_the_softmax_with_the_prior_alone() -> None:
    prior_MK = torch.tensor([[0.5, 0.3, 0.2]], dtype=F64)
    loss = AdaPrior(prior_MK.clone(), members(0.5))
    logits_MBK, labels_MB = LOGITS[None].clone().requires_grad_(), LABELS[None]
    value_M = loss(logits_MBK, labels_MB)
    loss.update(logits_MBK.detach(), labels_MB)  # before the backward pass, as in a step
    (grad_MBK,) = torch.autograd.grad(value_M.sum(), logits_MBK)
    torch.testing.assert_close(grad_MBK, cross_entropy_grad(LOGITS[None], labels_MB, prior_MK.log()))


def test_of_rate_0_it_is_balanced_softmax() -> None:
    counts_K = torch.tensor([50.0, 9.0, 2.0], dtype=F64)
    loss = AdaPrior((counts_K / counts_K.sum())[None].clone(), members(0.0))
    for _ in range(2):
        expected_M = cross_entropy(LOGITS[None], LABELS[None], log_prior(counts_K)[None])
        assert torch.equal(loss(LOGITS[None], LABELS[None]), expected_M)
        loss.update(LOGITS[None], LABELS[None])


def test_log_priors_at_inference_by_hand() -> None:
    method = METHODS.find("ada_prior")()
    maps = Maps(torch.empty(0), torch.empty(0), ())
    out = Outputs(torch.empty(0), torch.zeros(1, 1, 2, dtype=F64), maps)
    kept = {"strength_M": members(0.65), "posthoc_MK": torch.tensor([[0.8, 0.2]], dtype=F64).log()}
    assert method.classify(out, kept)[0, 0].tolist() == pytest.approx([0.145043, 1.046135], abs=1e-6)
    kept["strength_M"] = members(0.0)
    assert torch.equal(method.classify(out, kept), out.logits_MBK)


def test_what_is_kept_of_predictions_is_a_distribution() -> None:
    for kept in _kept("ada_prior", {"prior_start": "old"}):
        torch.testing.assert_close(kept["prior_MK"].sum(1), torch.ones(1, dtype=F64))
        torch.testing.assert_close(kept["posthoc_MK"].exp().sum(1), torch.ones(1, dtype=F64))
        assert kept["strength_M"].tolist() == [0.65]
