"""UPCL: its prototypes, its losses word for word, and who gets which prototype."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from support.runs import FEW_IMAGES, tiny_run
from support.states import trained
from trainer.errors import ConfigError
from trainer.losses.contrastive import supervised_contrast
from trainer.losses.cross_entropy import cross_entropy
from trainer.methods.upcl import CENTROIDS, SEEN, Upcl, update_centroids
from trainer.nets import resnet
from trainer.nets.heads import PrototypeHead
from trainer.nets.network import Network, Outputs
from trainer.nets.resnet import Maps
from trainer.stages.matching import matched
from trainer.stages.optim import OptimConfig
from trainer.stages.stage import Step, TaskContext
from trainer.training.options import DeviceOptions
from trainer.training.session import train

F64 = torch.float64
M, B, K, D = 2, 5, 3, 8
LABELS = torch.tensor([[0, 2, 2, 1, 0], [1, 1, 1, 1, 2]])


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def step(
    features_MBD: Tensor, old: int = 0, teacher_MBK: Tensor | None = None, epoch: int = 9, **fields: float
) -> Step:
    head = PrototypeHead(M, D).double()
    head.grow(K, range(M), 0)
    counts_K = torch.tensor([3.0, 1.0, 6.0], dtype=F64)
    values = Upcl().model_dump(by_alias=True) | fields
    members = {name: torch.full((M,), values[name], dtype=F64) for name in Upcl.per_member_fields()}
    task = TaskContext(
        int(old > 0), old, K - old, (K,), M, counts_K, counts_K, members, OptimConfig(epochs=10, milestones=()), F64
    )
    nothing = torch.empty(0)
    teacher = None if teacher_MBK is None else Outputs(nothing, teacher_MBK, Maps(nothing, nothing, ()))
    out = Outputs(features_MBD, head(features_MBD), Maps(nothing, nothing, ()), teacher)
    buffers = {
        CENTROIDS: F.normalize(draw(M, K, D, seed=5), dim=2),
        SEEN: torch.tensor([[1.0, 1, 0], [0, 1, 1]]).double(),
    }
    return Step(out, LABELS, task, buffers, Network(resnet.build("small", 1, [0] * M), {"head": head}), epoch)


def test_prototypes_are_orthonormal_however_often_there_are_more() -> None:
    head = PrototypeHead(M, D)
    for task, classes in enumerate((3, 1, 4)):
        before = head.weight_MKD.clone()
        head.grow(classes, range(M), task)
        assert torch.equal(head.weight_MKD[:, : before.shape[1]], before)
        product_MKK = head.weight_MKD @ head.weight_MKD.transpose(1, 2)
        torch.testing.assert_close(product_MKK, torch.eye(head.classes).expand(M, -1, -1), rtol=0, atol=1e-5)


def test_more_classes_than_features_are_refused_in_one_line() -> None:
    class Narrow(Upcl):
        def most_classes(self, features: int) -> int:
            return features // 8

    config = tiny_run("upcl", data=FEW_IMAGES)
    assert config.method.most_classes(64) == 64
    narrow = config.model_copy(update={"method": Narrow()})
    with pytest.raises(
        ConfigError, match=r"^net.name: small has 64 features, and \w+ can learn 8 classes with them, not 10$"
    ):
        train([narrow], DeviceOptions(device="cpu"))


def test_the_contrast_word_for_word() -> None:
    features_MBD, tau = F.normalize(draw(M, B, D), dim=2), [0.07, 0.5]
    found_M = supervised_contrast(features_MBD, LABELS, torch.tensor(tau, dtype=F64))
    for m in range(M):
        total = 0.0
        for b in range(B):
            e = [math.exp(float(features_MBD[m, b] @ features_MBD[m, j]) / tau[m]) for j in range(B)]
            own = [j for j in range(B) if LABELS[m, j] == LABELS[m, b]]
            total -= sum(math.log(e[j] / sum(e)) for j in own) / len(own)
        assert float(found_M[m]) == pytest.approx(total / B)


def test_the_terms_word_for_word() -> None:
    features_MBD, teacher_MBK, log_prior_K = (
        3 * draw(M, B, D),
        draw(M, B, 2, seed=2),
        torch.tensor([0.3, 0.1, 0.6]).log(),
    )
    now = step(features_MBD, old=2, teacher_MBK=teacher_MBK, rho=0.5)
    found = Upcl(rho=0.5).terms(now, log_prior_K.double())
    share, unit_MBD = 2 / 3, F.normalize(features_MBD, dim=2)
    z_MBK = unit_MBD @ now.head.weight_MKD.transpose(1, 2)
    adjusted_M = cross_entropy(z_MBK / 0.07 + 0.5 * log_prior_K, LABELS)
    contrast_M = supervised_contrast(unit_MBD, LABELS, torch.full((M,), 0.07, dtype=F64))
    q, p = (teacher_MBK / 4).softmax(2), (z_MBK[..., :2] / 4).softmax(2)
    torch.testing.assert_close(found["prototypes"], (1 - share) * adjusted_M)
    torch.testing.assert_close(found["contrast"], (1 - share) * 0.5 * contrast_M)
    torch.testing.assert_close(found["kd"], 0.5 * share * 16 * (q * (q / p).log()).sum(2).mean(1))


def test_the_loss_of_the_prototypes_begins_late() -> None:
    method, log_prior_K = Upcl(prototypes_from=0.3), torch.zeros(K, dtype=F64)
    early, late = (method.terms(step(draw(M, B, D), epoch=epoch), log_prior_K) for epoch in (2, 3))
    assert set(early) == {"contrast"}
    assert set(late) == {"contrast", "prototypes"}


def test_running_means_word_for_word() -> None:
    features_MBD = F.normalize(draw(M, B, D), dim=2)
    now = step(features_MBD)
    before_MKD, seen_MK = now.buffers[CENTROIDS].clone(), now.buffers[SEEN].clone()
    update_centroids(now, features_MBD, torch.tensor([0.9, 0.6], dtype=F64))
    for m, momentum in enumerate((0.9, 0.6)):
        for k in range(K):
            own = [features_MBD[m, b] for b in range(B) if LABELS[m, b] == k]
            expected_D = before_MKD[m, k]
            if own:
                mean_D = torch.stack(own).mean(0)
                mixed_D = momentum * expected_D + (1 - momentum) * mean_D if seen_MK[m, k] else mean_D
                expected_D = mixed_D / mixed_D.norm()
            torch.testing.assert_close(now.buffers[CENTROIDS][m, k], expected_D)
            assert now.buffers[SEEN][m, k] == float(bool(own) or bool(seen_MK[m, k]))


def test_matching_finds_a_permutation_and_never_the_worse() -> None:
    order_MK = torch.tensor([[2, 0, 1, 3], [3, 2, 1, 0]])
    scores_MKK = F.one_hot(order_MK, 4).double()
    assert torch.equal(matched(scores_MKK), order_MK)
    noisy_MKK = draw(20, 4, 4)
    gained = noisy_MKK.gather(2, matched(noisy_MKK).unsqueeze(2)).sum((1, 2))
    assert (gained >= noisy_MKK.diagonal(dim1=1, dim2=2).sum(1)).all()


@pytest.mark.parametrize("matching", ["new", "none"])
def test_old_prototypes_stay_and_new_ones_are_exchanged(matching: str) -> None:
    head = "network/head.weight_MKD"
    first, second, _ = trained("upcl", {"matching": matching})
    old = first[head].shape[1]
    assert torch.equal(second[head][:, :old], first[head])
    drawn = PrototypeHead(1, 64).double()
    drawn.grow(old, [0], 0)
    same = torch.equal(first[head], drawn.weight_MKD)
    assert same == (matching == "none")
    both = torch.cat([first[head], drawn.weight_MKD], 1)[0]
    assert torch.linalg.matrix_rank(both, tol=1e-6) == old
