"""Our SGD moves parameters as PyTorch's does, bit by bit, and a process that trains imports no compiler for it."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import Parameter

from trainer.training.sgd import Sgd

ROOT = Path(__file__).parents[2]


def parameters() -> list[Parameter]:
    stream = torch.Generator().manual_seed(0)
    return [Parameter(torch.randn(shape, generator=stream, dtype=torch.float64)) for shape in ((3, 4), (5,), (2, 2))]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_it_moves_as_pytorchs(momentum: float) -> None:
    ours, theirs = parameters(), parameters()
    own = Sgd(
        [
            {"params": ours[:1], "lr": 0.1, "weight_decay": 0.01},
            {"params": ours[1:], "lr": 0.2, "weight_decay": 0.0},
        ],
        momentum,
        fused=False,
    )
    reference = torch.optim.SGD(
        [
            {"params": theirs[:1], "lr": 0.1, "weight_decay": 0.01},
            {"params": theirs[1:], "lr": 0.2, "weight_decay": 0.0},
        ],
        momentum=momentum,
        foreach=True,
    )
    for step in range(4):
        for optimiser, own_parameters in ((own, ours), (reference, theirs)):
            optimiser.zero_grad()
            # the last one learns nothing at first
            sum((p**3).sum() for p in own_parameters[: 2 + (step > 1)]).backward()  # type: ignore[union-attr]
            if step == 3:
                optimiser.param_groups[0]["lr"] = 0.01
            optimiser.step()
        assert all(torch.equal(p, q) for p, q in zip(ours, theirs, strict=True))
    assert len(own.momentum) == (3 if momentum else 0)


def test_training_imports_neither_a_compiler_nor_scipy() -> None:
    code = """
import sys
from trainer.config.files import load_run
from trainer.training.session import train
small = ["optim.epochs=1", "optim.milestones=[]", "protocol.tasks=2", "data.imbalance.max_per_class=20"]
(result,) = train([load_run("runs/digits_lfs5.yaml", small).config])
assert result.status == "finished"
print({"torch._dynamo", "torch._inductor", "sympy", "scipy", "sklearn", "matplotlib", "optuna"} & set(sys.modules))
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout == "set()\n"
