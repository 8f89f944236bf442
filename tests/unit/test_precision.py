"""How a run is computed: devices, precisions, determinism."""

import pytest
import torch

from support.runs import FEW_IMAGES, timeless, tiny_run
from trainer.errors import ConfigError
from trainer.training.options import DeviceOptions, deterministic
from trainer.training.session import train


def test_the_cpu_computes_in_float32_unless_told() -> None:
    assert DeviceOptions(device="cpu").resolve_precision() == "float32"
    assert DeviceOptions(device="cpu", precision="bfloat16").resolve_precision() == "bfloat16"


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
