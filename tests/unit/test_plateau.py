"""A learning rate, each member's own, that falls where the loss on images set aside does not."""

import math

import pytest
import torch

from support.runs import tiny_run
from trainer.stages.stage import Plateau
from trainer.training import plateau
from trainer.training.options import DeviceOptions
from trainer.training.session import train

CPU = DeviceOptions(device="cpu", precision="float64")


def literally(losses: list[float], lr: float, gamma: float, patience: int, lowest: float) -> list[float]:
    """The rate of each epoch, until the stage ends."""
    rates, best, left = [lr], math.inf, patience
    for loss in losses:
        if loss < best:
            best, left = loss, patience
        else:
            left -= 1
            if left <= 0:
                lr *= gamma
                if lr < lowest * (1 - 1e-6):
                    return rates
                left = patience
        rates.append(lr)
    return rates


@pytest.mark.parametrize("gamma", [0.1, 0.5])
def test_rates_are_those_of_the_loop_written_out(gamma: float) -> None:
    losses_EM = torch.rand(60, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    losses_EM[:, 3] = -torch.arange(60.0)  # gets better forever
    rule = Plateau(set_aside=lambda images: images.new_N, patience=3, lowest=1e-3)
    buffers = plateau.start(rule, 4, torch.device("cpu"))
    found_EM = []
    for loss_M in losses_EM:
        found_EM.append((0.4 * buffers[plateau.RATE]).tolist())
        plateau.after_epoch(rule, buffers, loss_M, 0.4, gamma)
    for member in range(4):
        expected = literally(losses_EM[:-1, member].tolist(), 0.4, gamma, 3, 1e-3)
        expected += [0.0] * (60 - len(expected))
        assert [rates[member] for rates in found_EM] == pytest.approx(expected)
    assert found_EM[-1][0] == 0 < found_EM[-1][3]


def test_members_that_end_at_different_epochs_equal_single_runs() -> None:
    changes = {
        "data": {"imbalance": {"ratio": 1, "max_per_class": 10}},
        "protocol": {"tasks": 1},
        "optim": {"epochs": 20, "lr": 1.0, "gamma": 0.003, "batch_size": 128},
    }
    runs = [tiny_run("icarl", {"plateau": True}, seed=seed, **changes) for seed in (0, 1)]
    together = train(runs, CPU)
    lengths = [len(result.epochs) for result in together]
    assert len(set(lengths)) == 2, lengths
    assert max(lengths) < 20
    for run, result in zip(runs, together, strict=True):
        (alone,) = train([run], CPU)
        assert [row.lr for row in result.epochs] == [row.lr for row in alone.epochs]
        for row, twin in zip(result.epochs, alone.epochs, strict=True):
            assert row.loss == pytest.approx(twin.loss, rel=1e-9)
        assert [row.acc_by_task_pct for row in result.tasks] == [row.acc_by_task_pct for row in alone.tasks]
        norms = [row.head_grad_norm for row in result.classes], [row.head_grad_norm for row in alone.classes]
        assert norms[0] == pytest.approx(norms[1], rel=1e-8)


def test_images_set_aside_are_neither_trained_on_nor_kept() -> None:
    """Of classes of 20 images, 2 are set aside: 18 are trained on, in as many steps of one image."""
    changes = {"data": {"imbalance": {"ratio": 1, "max_per_class": 20}}, "memory": {"per_class": 20}}
    optim = {"epochs": 1, "batch_size": 1}
    run = tiny_run("icarl", {"plateau": True}, protocol={"tasks": 2}, net={"name": "small"}, optim=optim, **changes)
    (result,) = train([run], DeviceOptions(device="cpu"))
    assert [row.steps for row in result.epochs] == [5 * 18, 5 * 18 + 5 * 18]
