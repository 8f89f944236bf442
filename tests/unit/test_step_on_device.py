"""What a step must not do: break the compiled graph of the network, or make the host wait for the device."""

from __future__ import annotations

import os
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from support.runs import accuracies, losses, tiny_run
from trainer import loop
from trainer.methods.base import names
from trainer.nets import resnet
from trainer.precision import Options
from trainer.run import run


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize(("name", "side"), [("resnet32", 32), ("resnet18", 64), ("small", 8)])
def test_the_network_is_one_graph(name: str, side: int, members: int) -> None:
    net = resnet.build(name, 3, list(range(members)))
    found = torch._dynamo.explain(net)(torch.zeros(2, 3 * members, side, side))
    assert found.graph_count == 1, found.break_reasons


def test_last_batches_of_other_sizes_compile_nothing_anew() -> None:
    net = resnet.build("small", 1, [0])
    compiled = torch.compile(net, backend="aot_eager", dynamic=True, fullgraph=True)
    torch._dynamo.reset()
    with torch._dynamo.config.patch(error_on_recompile=True):
        for batch in (32, 17, 23):  # PyTorch's convolution on a CPU is another one below 16
            out = compiled(torch.zeros(batch, 1, 8, 8)).features_MBD
            torch.testing.assert_close(out, net(torch.zeros(batch, 1, 8, 8)).features_MBD)


@pytest.mark.slow
def test_compiled_gives_what_eager_gives() -> None:
    """Every loss within 1e-9 in float64; in float32 within 1e-2, as sums in another order grow from step to step."""
    runs = [tiny_run("gradient_reweighting", seed=seed) for seed in (0, 1)]
    for precision, tolerance in (("float64", 1e-9), ("float32", 1e-2)):
        eager, compiled = (
            losses(run(runs, Options(device="cpu", precision=precision, compile=on))) for on in (False, True)
        )
        torch.testing.assert_close(compiled, eager, rtol=tolerance, atol=tolerance)


WAITED_FOR = {"_local_scalar_dense", "bincount", "equal", "is_nonzero", "lift_fresh", "masked_select", "nonzero"}


class _Waits(TorchDispatchMode):
    """Names the operations whose result a CUDA device's host would wait for, and what is copied from the host."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        indices = args[1] if name.startswith("index") and isinstance(args[1], list | tuple) else ()
        self.operations += 1
        if name in WAITED_FOR or "unique" in name or any(i is not None and i.dtype == torch.bool for i in indices):
            self.found[f"{name} at {_caller()}"] += 1
        return func(*args, **kwargs)


def _caller() -> str:
    ours = [frame for frame in traceback.extract_stack() if f"{os.sep}trainer{os.sep}" in frame.filename]
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}: {ours[-1].line}"


def _one_hot(labels: Tensor, classes: int) -> Tensor:
    """As CUDA computes it: PyTorch's looks at the labels on a CPU, and there alone."""
    return (labels.unsqueeze(-1) == torch.arange(classes, device=labels.device)).long()


@pytest.mark.parametrize("name", [*names(), "gradient_reweighting with a second stage"])
def test_no_step_reads_what_is_on_the_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told on a CPU by the operations; the test below asks CUDA itself."""
    inner, waits = loop._EpochLoop._step, _Waits()

    def watched(self: loop._EpochLoop, *arguments: Any) -> object:
        with waits:
            return inner(self, *arguments)

    method, _, staged = name.partition(" ")
    runs = [tiny_run(method, seed=seed, **({"stage2": {"epochs": 1}} if staged else {})) for seed in (0, 1)]
    run(runs, Options(device="cpu"))  # constants are copied to the device once
    monkeypatch.setattr(torch.nn.functional, "one_hot", _one_hot)
    monkeypatch.setattr(loop._EpochLoop, "_step", watched)
    run(runs, Options(device="cpu"))
    assert waits.operations > 1000
    assert not waits.found


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("name", names())
def test_no_step_waits_for_the_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = loop._EpochLoop._step

    def strict(self: loop._EpochLoop, *arguments: object) -> object:
        torch.cuda.set_sync_debug_mode("error")
        try:
            return inner(self, *arguments)  # type: ignore[arg-type]
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(loop._EpochLoop, "_step", strict)
    results = run([tiny_run(name, seed=seed) for seed in (0, 1)], Options(device="cuda"))
    assert [r.status for r in results] == ["finished", "finished"]
    assert accuracies(results)
