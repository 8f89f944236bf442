"""Sets that fit into no memory train from the cache's file, with the same numbers, and say so."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from support.runs import accuracies, losses, tiny_run
from trainer.config.run_config import RunConfig
from trainer.data import host_pixels
from trainer.data.host_pixels import HostPixels
from trainer.data.tasks import build
from trainer.training.options import DeviceOptions
from trainer.training.session import train

EXACT = DeviceOptions(device="cpu", precision="float64")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten images of each of six digits, in class folders."""
    monkeypatch.setenv("CIL_CACHE", str(tmp_path / "cache"))
    bunch = load_digits()
    for label in range(6):
        home = tmp_path / "set" / str(label)
        home.mkdir(parents=True)
        for number, image in enumerate(bunch.images[bunch.target == label][:10]):
            Image.fromarray((image * 15).astype(np.uint8)).save(home / f"{number}.png")
    return tmp_path / "set"


def run(method: str, folder: Path, **data: Any) -> RunConfig:
    fields = {"source": "image_folder", "path": str(folder), "imbalance": {"ratio": 2.0}, **data}
    return tiny_run(method, data=fields, optim={"batch_size": 8}, seed=1)


def no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_pixels, "free_bytes", lambda device: 0.0)


@pytest.mark.parametrize(
    ("method", "augment"), [("icarl", "random_crop"), ("cmo", "resized_crop"), ("finetune", "none")]
)
def test_the_numbers_are_the_same(
    method: str, augment: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = run(method, folder, augment=augment)
    expected = train([config], EXACT)
    assert "batch by batch" not in capsys.readouterr().err
    no_memory(monkeypatch)
    found = train([config], EXACT)
    assert (accuracies(found), losses(found)) == (accuracies(expected), losses(expected))


def test_nothing_is_copied_and_it_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = run("finetune", folder)
    resident = build(config.data, config.protocol)
    no_memory(monkeypatch)
    mapped = build(config.data, config.protocol)
    told = capsys.readouterr().err
    assert told.count("are read batch by batch, which is slower") == 2
    for name in ("train_pixels_NCHW", "eval_pixels_NCHW"):
        pixels, tensor = getattr(mapped, name), getattr(resident, name)
        assert isinstance(pixels, HostPixels)
        assert isinstance(pixels.pixels_NHWC, np.memmap)
        assert pixels.shape == tensor.shape
        everything = torch.arange(len(tensor))
        assert torch.equal(pixels.take(everything), tensor.permute(0, 2, 3, 1))


def test_memory_is_known_on_linux() -> None:
    assert 1e6 < host_pixels.free_bytes(torch.device("cpu")) < 1e15
