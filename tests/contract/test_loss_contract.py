"""What every classification loss promises, known by its file alone, and every method that takes one."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

import trainer.losses
from support.runs import FEW_IMAGES, accuracies, losses, tiny_run
from trainer.config.files import parse_run
from trainer.errors import ConfigError
from trainer.losses.base import LOSSES, ClassificationLoss
from trainer.losses.cross_entropy import cross_entropy
from trainer.methods.base import METHODS
from trainer.training.options import DeviceOptions
from trainer.training.session import train

M, B, K = 3, 12, 5
EXACT = DeviceOptions(device="cpu", precision="float64")
COUNTS = torch.tensor([50.0, 20.0, 9.0, 3.0, 1.0], dtype=torch.float64)

every_loss = pytest.mark.parametrize("name", LOSSES.names())
TAKERS = [name for name in METHODS.names() if "loss_" in METHODS.find(name).model_fields]


def prepared(name: str, counts_K: Tensor = COUNTS, members: int = M) -> ClassificationLoss:
    return LOSSES.find(name).prepare(counts_K, members, torch.float64)


def batch(size: float = 1.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits_MBK = size * torch.randn(M, B, K, dtype=torch.float64, generator=generator)
    return logits_MBK, torch.randint(K, (M, B), generator=generator)


@every_loss
def test_each_member_has_its_own_value_and_gradient(name: str) -> None:
    logits_MBK, labels_MB = batch()
    logits_MBK.requires_grad_()
    value_M = prepared(name)(logits_MBK, labels_MB)
    assert value_M.shape == (M,)
    (grad_MBK,) = torch.autograd.grad(value_M.sum(), logits_MBK)
    for m in range(M):
        alone = logits_MBK[m : m + 1].detach().clone().requires_grad_()
        value_1 = prepared(name, members=1)(alone, labels_MB[m : m + 1])
        torch.testing.assert_close(value_1, value_M[m : m + 1], rtol=1e-12, atol=1e-12)
        (grad_1BK,) = torch.autograd.grad(value_1.sum(), alone)
        torch.testing.assert_close(grad_1BK[0], grad_MBK[m], rtol=1e-12, atol=1e-12)


@every_loss
def test_it_is_a_mean_over_images(name: str) -> None:
    logits_MBK, labels_MB = batch()
    loss = prepared(name)
    twice_M = loss(torch.cat([logits_MBK, logits_MBK], 1), torch.cat([labels_MB, labels_MB], 1))
    torch.testing.assert_close(twice_M, loss(logits_MBK, labels_MB))


@every_loss
@pytest.mark.parametrize("size", [1e-9, 1.0, 200.0])
def test_extreme_logits_classes_without_images_and_single_classes_stay_finite(name: str, size: float) -> None:
    logits_MBK, labels_MB = batch(size)
    for counts_K, classes in ((COUNTS, K), (COUNTS * torch.tensor([1, 1, 0, 1, 0]), K), (COUNTS[:1], 1)):
        own_MBK = logits_MBK[..., :classes].clone().requires_grad_()
        present = counts_K.nonzero().squeeze(1)
        value_M = prepared(name, counts_K)(own_MBK, present[labels_MB % len(present)])
        (grad_MBK,) = torch.autograd.grad(value_M.sum(), own_MBK)
        assert value_M.isfinite().all()
        assert grad_MBK.isfinite().all()


@every_loss
def test_equal_counts_leave_the_order_of_confident_predictions(name: str) -> None:
    """The loss falls as the label's logit rises."""
    logits_MBK, labels_MB = batch()
    raised_MBK = logits_MBK.scatter_add(2, labels_MB.unsqueeze(2), torch.full((M, B, 1), 2.0, dtype=torch.float64))
    loss = prepared(name, torch.full((K,), 20.0, dtype=torch.float64))
    assert (loss(raised_MBK, labels_MB) < loss(logits_MBK, labels_MB)).all()


@pytest.mark.parametrize("name", ["balanced_softmax", "class_balanced"])
def test_losses_that_follow_the_counts_are_cross_entropy_where_these_are_equal(name: str) -> None:
    logits_MBK, labels_MB = batch()
    found_M = prepared(name, torch.full((K,), 20.0, dtype=torch.float64))(logits_MBK, labels_MB)
    torch.testing.assert_close(found_M, cross_entropy(logits_MBK, labels_MB))


@pytest.mark.parametrize(
    ("name", "hyperparameters"),
    [("balanced_softmax", {}), ("focal", {}), ("class_balanced", {"form": "softmax", "cb_beta": 0.9999})],
)
def test_a_loss_is_that_of_the_method_of_its_name(name: str, hyperparameters: dict[str, object]) -> None:
    results = [
        train([tiny_run(method, fields, data=FEW_IMAGES)], EXACT)[0]
        for method, fields in (("finetune", {"loss": name}), (name, hyperparameters))
    ]
    assert accuracies(results[:1]) == accuracies(results[1:])
    chosen, own = ([sum(terms.values()) for terms in run] for run in losses(results))
    assert chosen == pytest.approx(own, rel=1e-12)


def test_some_methods_take_a_loss() -> None:
    assert {"finetune", "distillation", "wa", "bic"} <= set(TAKERS)


@pytest.mark.parametrize("method", TAKERS)
@every_loss
def test_members_of_a_method_with_it_equal_runs_alone(method: str, name: str) -> None:
    short = {"data": FEW_IMAGES, "protocol": {"tasks": 2}, "optim": {"epochs": 1}}
    configs = [tiny_run(method, {"loss": name}, seed=s, **short) for s in (0, 1)]
    alone = [train([config], EXACT)[0] for config in configs]
    together = train(configs, EXACT)
    assert [result.status for result in together] == ["finished"] * 2
    assert accuracies(together) == accuracies(alone)
    for found, expected in zip(losses(together), losses(alone), strict=True):
        for terms, wanted in zip(found, expected, strict=True):
            assert terms == pytest.approx(wanted, rel=1e-9, abs=1e-12)


def test_a_wrong_name_is_one_line() -> None:
    with pytest.raises(ConfigError) as error:
        parse_run({"method": {"name": "finetune", "loss": "focl"}})
    line = f"method.loss: 'focl' is not one of the choices; allowed: {', '.join(LOSSES.names())}; did you mean 'focal'?"
    assert str(error.value) == line


def test_a_file_is_all_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half.py").write_text(
        "from trainer.losses.ce import CrossEntropy\n"
        "class Half(CrossEntropy):\n"
        "    def __call__(self, logits_MBK, labels_MB):\n"
        "        return super().__call__(logits_MBK, labels_MB) / 2\n"
    )
    monkeypatch.setattr(trainer.losses, "__path__", [*trainer.losses.__path__, str(tmp_path)])
    logits_MBK, labels_MB = batch()
    assert torch.equal(prepared("half")(logits_MBK, labels_MB), prepared("ce")(logits_MBK, labels_MB) / 2)
    (found,) = train([tiny_run("finetune", {"loss": "half"}, data=FEW_IMAGES, protocol={"tasks": 1})], EXACT)
    assert found.status == "finished"
