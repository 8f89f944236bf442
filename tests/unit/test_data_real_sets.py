"""The two real Parquet sets, where ``$CIL_DATA`` names the folder that holds them."""

import os
from pathlib import Path

import pytest
import torch

from trainer.data.augment import augment, crops, uniforms_per_image
from trainer.data.config import DataConfig, Imbalance, Protocol
from trainer.data.tasks import build


@pytest.fixture
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of the set that the test asks for."""
    folder = Path(os.environ.get("CIL_DATA") or "/nonexistent", request.param)
    if not folder.is_dir():
        pytest.skip(f"the set {request.param} is not here: CIL_DATA does not name a folder that holds it")
    monkeypatch.setenv("CIL_CACHE", str(tmp_path))
    return f"${{CIL_DATA}}/{request.param}"


@pytest.mark.parametrize("path", ["imagenet32-100"], indirect=True)
def test_imagenet32_has_the_counts_of_cifar100_lt(path: str) -> None:
    data = DataConfig(source="parquet", path=path, imbalance=Imbalance(ratio=100), holdout_fraction=0.1)
    found = build(data, Protocol(tasks=10))
    assert [len(task.train_N) for task in found.tasks] == [590, 1082, 1086, 1193, 768, 803, 1190, 1213, 1343, 490]
    assert found.eval_counts_C == (50,) * 100
    assert found.class_names_C[found.class_ids_C.index(0)].startswith("n01443537 goldfish")
    index = torch.arange(64)[None]
    cut = crops(torch.full((1, 64, uniforms_per_image(data)), 0.5), 32, 32, data)
    images = augment(found.train_pixels_NCHW, index, cut, data, torch.float32)
    assert images.shape == (64, 3, 32, 32)
    assert images.mean().abs() < 1


@pytest.mark.parametrize("path", ["cifar10-jpeg"], indirect=True)
def test_cifar10(path: str) -> None:
    data = DataConfig(source="parquet", path=path, imbalance=Imbalance(ratio=100), normalise="cifar10")
    found = build(data, Protocol(kind="lfh", tasks=5))
    assert int(found.counts_C.max()) == 5000
    assert int(found.counts_C.min()) == 50
    assert found.eval_counts_C == (1000,) * 10
    assert sorted(found.class_names_C)[0] == "airplane"
