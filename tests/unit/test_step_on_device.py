"""What a step must not do: break the compiled graph of the network, or make the host wait for the device."""

from __future__ import annotations

import pytest
import torch

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
