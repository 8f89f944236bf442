"""GVAlign and GPA: what they add to LUCIR, against their equations, and that without it they are LUCIR."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from support.runs import FEW_IMAGES, accuracies, losses, tiny_run
from support.states import checkpoints, trained
from trainer.methods.gpa import Gpa, anchor, running_means
from trainer.methods.gvalign import align, spread
from trainer.nets.heads import CosineHead
from trainer.nets.network import Network
from trainer.rng import MemberStreams
from trainer.stages.optim import OptimConfig
from trainer.stages.stage import Embedding, TaskContext, TaskImages
from trainer.training.options import DeviceOptions
from trainer.training.session import train
from trainer.training.state import new_learner

EXACT = DeviceOptions(device="cpu", precision="float64")
F64 = torch.float64
DRAWS = 20_000


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def assert_lucir(name: str, hyperparameters: dict[str, Any]) -> None:
    found, lucir = (
        train([tiny_run(n, h, data=FEW_IMAGES)], EXACT) for n, h in ((name, hyperparameters), ("lucir", {}))
    )
    assert accuracies(found) == accuracies(lucir)
    for own, expected in zip(losses(found)[0], losses(lucir)[0], strict=True):
        assert {term: own[term] for term in expected} == expected
        assert sum(own.values()) == sum(expected.values())


# -- GVAlign -----------------------------------------------------------------------------------------------


def test_without_mixup_and_alignment_it_is_lucir() -> None:
    assert_lucir("gvalign", {"mixup": False, "align_steps": 0})


def test_the_spread_is_that_of_the_class_with_most_images() -> None:
    features_MND, labels_N = draw(2, 9, 4), torch.tensor([0, 1, 1, 1, 1, 0, 2, 2, 1])
    found_MnD = spread(features_MND, labels_N)
    for m in range(2):
        torch.testing.assert_close(found_MnD[m].T @ found_MnD[m], torch.cov(features_MND[m, labels_N == 1].T))


def test_draws_have_the_means_of_their_classes_and_one_covariance() -> None:
    """What the heads of 20,000 members are given."""
    given: list[Tensor] = []

    class Watched(CosineHead):
        def forward(self, x_MBD: Tensor) -> Tensor:
            given.append(x_MBD.detach())
            return super().forward(x_MBD)

    head = Watched(DRAWS, 3, 2).double()
    torch.nn.init.ones_(head.weight_MKD)
    features_MND, class_MNK = draw(1, 8, 3), F.one_hot(torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1]]), 2).double()
    spread_MnD, stream = 0.3 * draw(1, 5, 3, seed=1), torch.Generator().manual_seed(2)

    def noise(*shape: int) -> Tensor:
        return torch.randn(DRAWS, *shape, dtype=F64, generator=stream)

    everyone = (tensor.expand(DRAWS, -1, -1) for tensor in (features_MND, class_MNK, spread_MnD))
    align(head, *everyone, noise, 1, OptimConfig(lr=1e-9))
    covariance_DD = spread_MnD[0].T @ spread_MnD[0]
    for k, mean_D in enumerate((features_MND[0, :4].mean(0), features_MND[0, 4:].mean(0))):
        drawn_ND = given[0][:, k]
        torch.testing.assert_close(drawn_ND.mean(0), mean_D, rtol=0, atol=0.02)
        torch.testing.assert_close(torch.cov(drawn_ND.T), covariance_DD, rtol=0, atol=0.02)


def test_without_spread_the_head_learns_from_the_class_means_alone() -> None:
    """As SGD of PyTorch does, and a class without features does not count."""
    head, twin = CosineHead(1, 3, 3).double(), CosineHead(1, 3, 3).double()
    with torch.no_grad():
        twin.weight_MKD.copy_(head.weight_MKD.copy_(draw(1, 3, 3, seed=3)))
    features_MND, class_MNK = draw(1, 4, 3), F.one_hot(torch.tensor([[0, 0, 1, 1]]), 3).double()
    optim = OptimConfig(lr=0.5, momentum=0.9, weight_decay=0.01)
    align(
        head,
        features_MND,
        class_MNK,
        torch.zeros(1, 2, 3, dtype=F64),
        lambda *s: torch.ones(1, *s, dtype=F64),
        5,
        optim,
    )
    sgd = torch.optim.SGD(twin.parameters(), lr=0.5, momentum=0.9, weight_decay=0.01)
    means_MKD = torch.stack([features_MND[:, :2].mean(1), features_MND[:, 2:].mean(1)], 1)
    for _ in range(5):
        sgd.zero_grad()
        F.cross_entropy(twin(means_MKD)[0], torch.tensor([0, 1])).backward()
        sgd.step()
    for found, expected in zip(head.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(found, expected)


def test_the_alignment_moves_the_head_alone_and_old_rows_only_then() -> None:
    aligned, plain = (trained("gvalign", {"align_steps": steps}, protocol={"tasks": 1}) for steps in (100, 0))
    moved = {k for k, v in aligned[0].items() if k.startswith("network/") and not torch.equal(v, plain[0][k])}
    assert moved == {"network/head.weight_MKD", "network/head.scale_M"}
    tensors = [content["tensors"] for content in checkpoints("gvalign", every=1, protocol={"tasks": 2})]
    head, spreads = "network/head.weight_MKD", [t["method_state/spread_MnD"] for t in tensors[1:]]
    _, first, within, second = tensors  # of each task: after the first of two epochs, and at its end
    old = first[head].shape[1]
    assert torch.equal(within[head][:, :old], first[head])
    assert not torch.equal(second[head][:, :old], first[head])
    assert all(torch.equal(found, spreads[0]) for found in spreads)


# -- GPA ---------------------------------------------------------------------------------------------------


def test_without_imprinting_and_anchor_it_is_lucir() -> None:
    assert_lucir("gpa", {"imprint": False, "anchor": 0.0})


def test_the_anchor_by_hand() -> None:
    rows_McD = torch.tensor([[[1.0, 0.0]]], dtype=F64, requires_grad=True)
    means_McD = torch.tensor([[[3.0, 4.0]]], dtype=F64)
    assert anchor(rows_McD, means_McD, "mean").tolist() == pytest.approx([0.4])
    value_M = anchor(rows_McD, means_McD, "sum")
    assert value_M.tolist() == pytest.approx([0.8])
    (grad_McD,) = torch.autograd.grad(0.12 * value_M.sum(), rows_McD)
    assert grad_McD[0, 0].tolist() == pytest.approx([0.096, -0.192])


@pytest.mark.parametrize(
    ("reference", "expected"), [("largest", [0, 2.302575, 4.605070]), ("mean", [-0.994251, 1.308334, 3.610893])]
)
def test_rare_classes_begin_with_large_biases(reference: str, expected: list[float]) -> None:
    method = Gpa(host="linear", reference=reference)
    found_c = method.first_biases(torch.tensor([500.0, 50.0, 5.0], dtype=F64))
    assert found_c.tolist() == pytest.approx(expected, abs=2e-5)


def test_running_means_word_for_word() -> None:
    means_McD, features_MBD = draw(2, 3, 4), draw(2, 5, 4, seed=1)
    labels_MB, momentum = torch.tensor([[0, 0, 2, -1, -3], [1, 1, 1, -1, 0]]), [0.9, 0.5]
    found_McD = running_means(means_McD, features_MBD, labels_MB, torch.tensor(momentum, dtype=F64))
    for m, kept in enumerate(momentum):
        for c in range(3):
            own = [x_D / x_D.norm() for x_D, y in zip(features_MBD[m], labels_MB[m].tolist(), strict=True) if y == c]
            expected_D = kept * means_McD[m, c] + (1 - kept) * torch.stack(own).mean(0) if own else means_McD[m, c]
            torch.testing.assert_close(found_McD[m, c], expected_D)


def test_old_rows_stay() -> None:
    first, second, third = (tensors["network/head.weight_MKD"] for tensors in trained("gpa"))
    assert torch.equal(second[:, : first.shape[1]], first)
    assert torch.equal(third[:, : second.shape[1]], second)


def begun(features_ND: Tensor, labels_N: Tensor, counts: list[float], **fields: Any) -> Network:
    """A network with one old class as the second task begins, of features that all networks have."""
    learner = new_learner([tiny_run("gpa", fields)], 1, torch.device("cpu"), "float64")
    counts_K, new = torch.tensor([9.0, *counts], dtype=F64), len(counts)
    learner.network.grow(1, learner.seeds, 0)
    learner.network.grow(new, learner.seeds, 1)
    task = TaskContext(1, 1, new, (1, new), 1, counts_K, counts_K, {}, OptimConfig(), F64)
    images = TaskImages(
        new_N=torch.arange(len(labels_N)),
        exemplars_ME=torch.empty(1, 0, dtype=torch.int64),
        labels_A=labels_N,
        old=1,
        per_class=9,
        streams=MemberStreams((0,), (1,)),
        embed=lambda index: Embedding(features_ND[None, index], torch.empty(0)),
    )
    (stage,) = Gpa(**fields).plan(task)
    assert stage.prepare is not None
    stage.prepare(learner, images)
    assert stage.frozen_rows == 1
    return learner.network


def test_rows_begin_at_the_directions_of_the_means() -> None:
    features_ND = torch.zeros(3, 64, dtype=F64)
    features_ND[:, :2] = torch.tensor([[3.0, 4.0], [3.0, 4.0], [0.0, -2.0]])
    network = begun(features_ND, torch.tensor([1, 1, 2]), [50, 5], host="linear")
    rows_cD = network.classifier.weight_MKD[0, 1:, :2].tolist()
    assert rows_cD[0] == pytest.approx([0.6, 0.8])
    assert rows_cD[1] == pytest.approx([0, -1])
    assert network.get_parameter("head.bias_MK")[0, 1:].tolist() == pytest.approx([0, 2.302575], abs=2e-5)


def test_imprinted_cosines_classify_by_the_nearest_mean() -> None:
    features_ND, labels_N = draw(30, 64).abs(), torch.arange(30) % 3 + 1
    network = begun(features_ND, labels_N, [10, 10, 10])
    means_cD = torch.stack([features_ND[labels_N == k].mean(0) for k in (1, 2, 3)])
    expected_N = F.cosine_similarity(features_ND[:, None], means_cD[None], dim=2).argmax(1)
    assert torch.equal(network.classifier(features_ND[None])[0, :, 1:].argmax(1), expected_N)


def test_rows_that_are_pulled_alone_settle_between_mean_and_decay() -> None:
    """The anchor is on raw rows: with weight decay they end at ``2 anchor mean / (2 anchor + decay)``."""
    row, mean = torch.tensor([[[0.0, 0.0]]], dtype=F64, requires_grad=True), torch.tensor([[[3.0, 4.0]]], dtype=F64)
    optimiser = torch.optim.SGD([row], lr=0.5, weight_decay=0.1)
    for _ in range(200):
        optimiser.zero_grad()
        (0.15 * anchor(row, mean, "sum")).sum().backward()
        optimiser.step()
    assert row[0, 0].tolist() == pytest.approx([0.75 * 0.6, 0.75 * 0.8])
