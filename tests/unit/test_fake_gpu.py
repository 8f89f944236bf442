"""Every method on a GPU that is not there: nothing mixes devices, and in no step does the host wait.

What is proved is where tensors lie and what is read; no CUDA kernel runs. Between steps the host reads by design: the
labels that it draws batches from, an epoch's sums, hits by class, and how many exemplars there are. Images that stay on
the host are read in steps too.
"""

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.fake_gpu import DeviceMix, FakeGpu, HostWait
from support.methods import method_folder, switches, together
from support.runs import FEW_IMAGES, losses, tiny_run
from trainer.config.run_config import RunConfig
from trainer.data.tasks import build
from trainer.distill.base import DISTILLATIONS
from trainer.errors import TrainingStopped
from trainer.losses.base import LOSSES
from trainer.methods.base import METHODS
from trainer.results.rows import RunResult
from trainer.training import loop
from trainer.training.checkpoint import FileSlot
from trainer.training.observer import Observer, TaskReport
from trainer.training.options import DeviceOptions
from trainer.training.profile import profile_steps
from trainer.training.session import train


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGpu]:
    """A GPU for which no step may wait."""
    fake, inner = FakeGpu(), loop.EpochLoop.step

    def strict(self: loop.EpochLoop, *arguments: Any) -> object:
        with fake.strict():
            return inner(self, *arguments)

    monkeypatch.setattr(loop.EpochLoop, "step", strict)
    with fake:
        yield fake


def members(method: str, hyperparameters: dict[str, Any] | None = None, **changes: Any) -> list[RunConfig]:
    """Two runs of three tasks, with a step an epoch and a second stage."""
    optim = {"batch_size": 64, **changes.pop("optim", {})}
    fields = {"data": FEW_IMAGES, "stage2": {"epochs": 1}, **changes, "optim": optim}
    return [tiny_run(method, hyperparameters, seed=seed, **fields) for seed in (0, 1)]


def trained(configs: list[RunConfig], precision: str = "bfloat16") -> list[RunResult]:
    found = train(configs, DeviceOptions("cuda", precision))
    assert [result.status for result in found] == ["finished", "finished"]
    assert [result.device for result in found] == ["fake", "fake"]
    return found


@pytest.mark.parametrize(("precision", "tasks", "epochs"), [("bfloat16", 2, 1), ("float32", 3, 2)])
@pytest.mark.parametrize("name", METHODS.names())
def test_every_method_trains_and_is_measured(name: str, precision: str, tasks: int, epochs: int, gpu: FakeGpu) -> None:
    """Two runs together, with herding and a second stage."""
    trained(members(name, protocol={"tasks": tasks}, optim={"epochs": epochs}), precision)


@pytest.mark.parametrize("name", [name for name in METHODS.names() if set(dict(switches(name))) - {"loss", "kd"}])
def test_so_do_other_choices_of_a_method(name: str, gpu: FakeGpu) -> None:
    fields = set(dict(switches(name))) - {"loss", "kd"}
    trained(members(name, together(name, fields), protocol={"tasks": 2}, stage2=None), "float32")


@pytest.mark.parametrize(
    ("method", "field", "names"),
    [("distillation", "loss", LOSSES.names()), ("distillation", "kd", DISTILLATIONS.names())],
)
def test_so_does_every_loss_and_distillation(method: str, field: str, names: list[str], gpu: FakeGpu) -> None:
    for name in names:
        trained(members(method, {field: name}, protocol={"tasks": 2}, optim={"epochs": 1}, stage2=None), "float32")


@pytest.mark.parametrize(
    "changes",
    [
        {
            "net": {"name": "resnet18"},
            "data": {**FEW_IMAGES, "augment": "resized_crop", "flip": True},
            "stage2": None,
        },
        {"net": {"name": "resnet32", "shortcut": "pad"}, "data": {**FEW_IMAGES, "augment": "none"}},
        {"memory": {"selection": "random"}, "optim": {"epochs": 1, "clip_norm": 0.1, "schedule": "cosine"}},
    ],
)
def test_so_does_every_section(changes: dict[str, Any], gpu: FakeGpu) -> None:
    trained(members("distillation", **{"protocol": {"tasks": 2}, "optim": {"epochs": 1}, **changes}))


def test_its_values_are_those_of_the_cpu(gpu: FakeGpu) -> None:
    configs = members("gradient_reweighting")
    on_cpu = train(configs, DeviceOptions("cpu", "float32"))
    for ours, theirs in zip(losses(trained(configs, "float32")), losses(on_cpu), strict=True):
        for epoch, expected in zip(ours, theirs, strict=True):
            assert epoch == pytest.approx(expected, rel=1e-4)


class Interrupting(Observer):
    """Stops a training at its fourth step, and prunes one of its runs after the first task."""

    steps = 0

    def on_step(self) -> bool:
        self.steps += 1
        return self.steps == 4

    def on_task(self, report: TaskReport) -> list[int]:
        return [1]


@pytest.mark.parametrize("name", ["foster", "bic"])
def test_runs_are_pruned_and_resumed(name: str, gpu: FakeGpu, tmp_path: Path) -> None:
    configs = members(name)
    options, slot = DeviceOptions("cuda"), FileSlot(tmp_path / "checkpoint")

    def again(observer: Observer) -> list[RunResult]:
        return train(
            configs,
            options,
            checkpoint=slot,
            first_task_checkpoint=lambda key: FileSlot(tmp_path / key),
            observer=observer,
        )

    with pytest.raises(TrainingStopped):
        again(Interrupting())
    assert slot.path.exists()
    observer = Interrupting()
    observer.steps = 4
    assert [result.status for result in again(observer)] == ["finished", "pruned"]


def test_a_step_is_timed(gpu: FakeGpu) -> None:
    configs = members("distillation")
    found = profile_steps(configs, build(configs[0].data, configs[0].protocol), DeviceOptions("cuda"))
    assert found.peak_bytes == gpu.memory


def test_images_that_the_device_has_no_memory_for_come_batch_by_batch(capsys: pytest.CaptureFixture[str]) -> None:
    with FakeGpu(memory=0):
        trained(members("icarl", protocol={"tasks": 2}))
    assert "read batch by batch" in capsys.readouterr().err


def test_the_host_waits_as_often_in_an_epoch_of_many_steps(gpu: FakeGpu) -> None:
    def waits(batch: int) -> int:
        before = gpu.waits
        trained(members("icarl", protocol={"tasks": 2}, optim={"batch_size": batch, "epochs": 1}, stage2=None))
        return gpu.waits - before

    assert waits(8) == waits(64) > 0


@pytest.mark.parametrize(
    ("loss_M", "error"),
    [
        ("loss_M * torch.arange(2)", DeviceMix),
        ("loss_M[torch.tensor([0, 1])]", DeviceMix),
        ("loss_M * torch.tensor([1, 1], device=loss_M.device)", HostWait),
        ("loss_M * loss_M.detach().max().item()", HostWait),
        ("loss_M * float((loss_M > 0).nonzero().shape[0])", HostWait),
        ("loss_M if bool((loss_M > 0).all()) else 0 * loss_M", HostWait),
    ],
)
def test_a_method_that_does_otherwise_is_caught(
    loss_M: str, error: type[Exception], gpu: FakeGpu, tmp_path: Path
) -> None:
    (tmp_path / "careless.py").write_text(
        textwrap.dedent(f"""
        import torch
        from trainer.losses.cross_entropy import cross_entropy
        from trainer.methods.base import Method

        class Careless(Method):
            def loss(self, step):
                loss_M = cross_entropy(step.logits_MBK, step.labels_MB)
                return {{"ce": {loss_M}}}
        """)
    )
    with method_folder(tmp_path), pytest.raises(error):
        trained(members("careless"))
