"""How a run is computed: devices, precisions, determinism."""

from pathlib import Path
from typing import Any

import pytest
import torch

from support.runs import FEW_IMAGES, losses, timeless, tiny_run
from trainer.config.run_config import RunConfig
from trainer.errors import ConfigError
from trainer.training.checkpoint import FileSlot
from trainer.training.options import DeviceOptions, cpu_bfloat16, deterministic
from trainer.training.session import train


def test_the_cpu_computes_in_float32_unless_told() -> None:
    assert DeviceOptions(device="cpu").resolve_precision() == "float32"
    assert DeviceOptions(device="cpu", precision="bfloat16").resolve_precision() == "bfloat16"


def test_what_a_cpu_has_for_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    for found, name in (
        ({"amx_tile": True, "amx_bf16": True, "avx512_bf16": True}, "AMX"),
        ({"amx_tile": False, "amx_bf16": True, "avx512_bf16": True}, "AVX512-BF16"),
        ({"avx2": True}, None),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=found: found)
        assert cpu_bfloat16() == name


# How frozen networks are used: as a teacher, two of them, side by side, in a second stage.
FROZEN: dict[str, dict[str, Any]] = {
    "gradient_reweighting": {},
    "maf_drc": {},
    "foster": {"stage2": {"epochs": 1}},
    "bic": {},
}


def with_frozen_networks(name: str) -> RunConfig:
    return tiny_run(name, data=FEW_IMAGES, protocol={"tasks": 2}, **FROZEN[name])


@pytest.mark.parametrize("name", FROZEN)
def test_bfloat16_has_nearly_the_losses_of_float32(name: str) -> None:
    config = with_frozen_networks(name)
    low, full = (losses(train([config], DeviceOptions("cpu", precision)))[0] for precision in ("bfloat16", "float32"))
    assert [epoch.keys() for epoch in low] == [epoch.keys() for epoch in full]
    for ours, theirs in zip(low, full, strict=True):
        assert ours == pytest.approx(theirs, rel=0.15, abs=0.05)
    assert low != full


@pytest.mark.parametrize("name", FROZEN)
def test_a_run_in_bfloat16_that_is_resumed_equals_one_that_was_not(name: str, tmp_path: Path) -> None:
    """From each of its checkpoints, within tasks and between them."""
    options = DeviceOptions("cpu", "bfloat16", checkpoint_every_epochs=1)
    written: list[bytes] = []

    class Kept(FileSlot):
        def write(self, content: bytes) -> None:
            written.append(content)
            super().write(content)

    config = with_frozen_networks(name)
    (whole,) = train([config], options, checkpoint=Kept(tmp_path / "whole"))
    for number, content in enumerate(written[:-1]):
        slot = FileSlot(tmp_path / str(number))
        slot.write(content)
        (found,) = train([config], options, checkpoint=slot)
        assert timeless(found) == timeless(whole)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (DeviceOptions(device="gpu"), "--device: no such device: 'gpu'; allowed: auto, cpu, cuda, cuda:N"),
        (DeviceOptions(device="cudda"), "--device: no such device: 'cudda'; .*did you mean 'cuda'"),
        (DeviceOptions(device="cuda:99"), r"--device: cuda:99 is not available: \d+ CUDA devices"),
        (DeviceOptions(device="cpu", precision="float46"), "--precision: no such precision: 'float46'; .*'float64'"),
    ],
)
def test_others_are_refused(options: DeviceOptions, line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        train([tiny_run("finetune", data=FEW_IMAGES)], options)


@pytest.mark.parametrize("on", [True, False])
def test_determinism_is_put_back(on: bool) -> None:
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    with deterministic(on):
        assert torch.are_deterministic_algorithms_enabled() == on
    assert (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark) == before


@pytest.mark.parametrize("precision", ["bfloat16", "float32", "float64"])
def test_a_repeat_gives_the_same_numbers(precision: str) -> None:
    config = tiny_run("finetune", data=FEW_IMAGES, protocol={"tasks": 2}, optim={"epochs": 1})
    found = [
        timeless(train([config], DeviceOptions("cpu", precision, deterministic=on))[0]) for on in (True, False, True)
    ]
    assert found[0] == found[2]
    assert found[0] == found[1]
    assert found[0]["precision"] == precision
