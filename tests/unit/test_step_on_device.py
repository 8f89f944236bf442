"""What a step must not do: break the compiled graph of the network, make the host wait for the device, or loop."""

import os
import traceback
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.operations import Watch
from support.runs import accuracies, losses, tiny_run
from trainer.methods.base import METHODS
from trainer.nets import resnet
from trainer.training import loop
from trainer.training.options import DeviceOptions
from trainer.training.session import train


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
def test_compiled_gives_what_eager_gives(long: bool) -> None:
    """Every loss within 1e-9, in float64: in float32 sums in another order grow from step to step."""
    if not long:
        pytest.skip("with --long: the C++ compiler takes a minute")
    runs = [tiny_run("gradient_reweighting", seed=seed) for seed in (0, 1)]
    eager, compiled = (
        losses(train(runs, DeviceOptions(device="cpu", precision="float64", compile=on))) for on in (False, True)
    )
    torch.testing.assert_close(compiled, eager, rtol=1e-9, atol=1e-9)


class _Traced(Watch):
    """Names the line that an operation is called from."""

    last = 0
    """operations of the last step"""

    def named(self, name: str) -> str:
        ours = [frame for frame in traceback.extract_stack() if f"{os.sep}trainer{os.sep}" in frame.filename]
        return f"{name} at {Path(ours[-1].filename).name}:{ours[-1].lineno}: {ours[-1].line}"


@pytest.fixture
def watched_steps(monkeypatch: pytest.MonkeyPatch) -> _Traced:
    """What all steps ask of the device."""
    inner, watch = loop.EpochLoop.step, _Traced()

    def watched(self: loop.EpochLoop, *arguments: Any) -> object:
        before = watch.operations
        with watch:
            found = inner(self, *arguments)
        watch.last = watch.operations - before
        return found

    monkeypatch.setattr(loop.EpochLoop, "step", watched)
    return watch


@pytest.mark.parametrize("name", [*METHODS.names(), "gradient_reweighting with a second stage"])
def test_a_step_reads_nothing_on_the_device_and_loops_over_nothing(name: str, watched_steps: _Traced) -> None:
    """It asks for as many operations, of whatever size, however many members, classes and images there are.

    Told on a CPU by the operations; the test below asks CUDA itself.
    """
    method, _, staged = name.partition(" ")
    stage2 = {"stage2": {"epochs": 1}} if staged else {}

    def asked(seeds: int, kind: str, tasks: int, batch: int) -> int:
        changes: dict[str, Any] = {"protocol": {"kind": kind, "tasks": tasks}, "optim": {"batch_size": batch}}
        runs = [tiny_run(method, seed=seed, **changes, **stage2) for seed in range(seeds)]
        train(runs, DeviceOptions(device="cpu"))
        return watched_steps.last

    asked(2, "lfs", 3, 16)  # constants are copied to the device once
    watched_steps.waits.clear()
    few = asked(2, "lfs", 3, 16)
    assert not watched_steps.waits
    assert few > 100
    assert asked(5, "lfh", 2, 12) == few  # three tasks too, of other numbers of classes


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("name", METHODS.names())
def test_no_step_waits_for_the_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = loop.EpochLoop.step

    def strict(self: loop.EpochLoop, *arguments: object) -> object:
        torch.cuda.set_sync_debug_mode("error")
        try:
            return inner(self, *arguments)  # type: ignore[arg-type]
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(loop.EpochLoop, "step", strict)
    results = train([tiny_run(name, seed=seed) for seed in (0, 1)], DeviceOptions(device="cuda"))
    assert [r.status for r in results] == ["finished", "finished"]
    assert accuracies(results)
