"""The schedule, the clipping and the batches of the one training loop, and a member that diverges in it."""

from pathlib import Path

import pytest
import torch

from support.methods import method_folder
from support.runs import FEW_IMAGES, accuracies, losses, tiny_run
from trainer.stages.optim import OptimConfig, learning_rate
from trainer.training.loop import clip_by_member
from trainer.training.options import DeviceOptions
from trainer.training.session import train

EXACT = DeviceOptions(device="cpu", precision="float64")


def rates(**fields: object) -> list[float]:
    optim = OptimConfig.model_validate({"epochs": 6, "lr": 1.0, "milestones": [], **fields})
    return [learning_rate(optim, epoch) for epoch in range(optim.epochs)]


def test_the_rate_falls_after_each_milestone() -> None:
    assert rates(milestones=[2, 5], gamma=0.1) == pytest.approx([1, 1, 0.1, 0.1, 0.1, 0.01])


def test_the_rate_rises_over_the_warm_up() -> None:
    assert rates(warmup_epochs=4) == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])
    assert rates(warmup_epochs=3, milestones=[1]) == pytest.approx([1 / 3, 0.2 / 3, 0.1, 0.1, 0.1, 0.1])


def test_the_rates_of_a_run_are_those_of_its_schedule() -> None:
    optim = {"epochs": 3, "lr": 0.2, "milestones": [1], "gamma": 0.5, "warmup_epochs": 2}
    (found,) = train([tiny_run("finetune", data=FEW_IMAGES, optim=optim)], EXACT)
    assert [row.lr for row in found.epochs] == pytest.approx([0.1, 0.1, 0.1] * 3)


def test_each_member_is_clipped_by_its_own_norm() -> None:
    draw = torch.Generator().manual_seed(0)
    parameters = [torch.nn.Parameter(torch.zeros(3, *shape)) for shape in ((2, 4), (5,), (1, 2, 3))]
    grads = [torch.randn(p.shape, generator=draw) * torch.tensor([0.001, 1, 50]).view(3, *[1] * (p.dim() - 1))
             for p in parameters]  # fmt: skip
    for parameter, grad in zip(parameters, grads, strict=True):
        parameter.grad = grad.clone()
    unused = torch.nn.Parameter(torch.zeros(3, 1))
    clip_by_member([*parameters, unused], 0.5)
    for member in range(3):
        alone = [torch.nn.Parameter(torch.zeros_like(grad[member])) for grad in grads]
        for parameter, grad in zip(alone, grads, strict=True):
            parameter.grad = grad[member].clone()
        torch.nn.utils.clip_grad_norm_(alone, 0.5)
        for parameter, single in zip(parameters, alone, strict=True):
            assert parameter.grad is not None
            torch.testing.assert_close(parameter.grad[member], single.grad, rtol=1e-5, atol=1e-8)
    assert unused.grad is None


@pytest.mark.parametrize(("batch_size", "steps"), [(14, 1), (13, 2), (5, 3), (1, 14), (1000, 1)])
def test_the_last_batch_holds_what_is_left(batch_size: int, steps: int) -> None:
    optim = {"epochs": 1, "batch_size": batch_size}
    (found,) = train([tiny_run("finetune", data=FEW_IMAGES, optim=optim)], EXACT)
    assert (found.tasks[0].images_new, found.epochs[0].steps) == (14, steps)
    right = found.epochs[0].train_acc_pct * 14 / 100
    assert right == pytest.approx(round(right)), "every image counts once"


SCALED = """
from trainer.losses.cross_entropy import cross_entropy
from trainer.methods.base import Method, hyperparameter


class Scaled(Method):
    paper = "none"
    factor: float = hyperparameter(1.0, per_member=True)

    def loss(self, step):
        return {"ce": step.task.hyperparameters["factor"] * cross_entropy(step.logits_MBK, step.labels_MB)}
"""


def test_a_member_that_diverges_stops_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "scaled.py").write_text(SCALED)
    with method_folder(tmp_path):
        runs = {"quiet": (1.0, 0), "wild": (1e300, 0), "other": (0.5, 1)}
        configs = {
            name: tiny_run("scaled", {"factor": factor}, seed=seed, data=FEW_IMAGES)
            for name, (factor, seed) in runs.items()
        }
        quiet, wild, other = train(list(configs.values()), EXACT)
        alone = [train([configs[name]], EXACT)[0] for name in ("quiet", "other")]
        (lonely,) = train([configs["wild"]], EXACT)
    assert [r.status for r in (quiet, wild, other)] == ["finished", "diverged", "finished"]
    assert wild.error == lonely.error == "loss is not finite after epoch 1 of task 0"
    assert len(wild.tasks) == 1, "from the next task on nothing is spent on it"
    assert lonely.status == "diverged"
    assert accuracies([quiet, other]) == accuracies(alone)
    for found, expected in zip(losses([quiet, other]), losses(alone), strict=True):
        for terms, wanted in zip(found, expected, strict=True):
            assert terms == pytest.approx(wanted, rel=0, abs=1e-9)
