"""GVAlign and GPA: what they add to LUCIR, against their equations, and that without it they are LUCIR."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from support.runs import FEW_IMAGES, accuracies, losses, tiny_run
from support.states import checkpoints, trained
from trainer.methods.gvalign import align, spread
from trainer.nets.heads import CosineHead
from trainer.stages.optim import OptimConfig
from trainer.training.options import DeviceOptions
from trainer.training.session import train

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
