"""CIFAR-100 through torchvision, from a small archive in the real layout; torchvision beside a CPU torch."""

import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.source_sets import cifar100_files, md5, refuse_downloads
from trainer.data.config import DataConfig, Protocol
from trainer.data.sources import load
from trainer.data.tasks import build
from trainer.data.torchvision_datasets import datasets
from trainer.errors import DataError


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIL_CACHE", str(tmp_path / "cache"))
    refuse_downloads(monkeypatch)


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return cifar100_files(tmp_path / "sets", monkeypatch)


def cifar(path: Path, **fields: Any) -> DataConfig:
    return DataConfig(source="cifar100", path=str(path), **fields)


def test_cifar100_is_read(archive: Path) -> None:
    source = load(cifar(archive))
    raw = np.random.RandomState(0).randint(0, 256, (12, 3072), dtype=np.uint8)
    assert (source.train.pixels_NHWC == raw.reshape(12, 3, 32, 32).transpose(0, 2, 3, 1)).all()
    assert source.train.labels_N.tolist() == [0, 1, 2] * 4
    assert source.class_names == ("apple", "bear", "worm")
    assert build(cifar(archive), Protocol(tasks=3)).counts_C.tolist() == [4, 4, 4]
    assert load(cifar(archive, resize=40)).test.pixels_NHWC.shape == (12, 40, 40, 3)


def test_cifar100_is_unpacked(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other"
    other.mkdir()
    packed = other / "cifar-100-python.tar.gz"
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(archive / "cifar-100-python", "cifar-100-python")
    monkeypatch.setattr(datasets().CIFAR100, "tgz_md5", md5(packed))
    assert load(cifar(other)).fingerprint == load(cifar(archive)).fingerprint


def test_damaged_cifar100_is_not_used(archive: Path) -> None:
    (archive / "cifar-100-python" / "test").write_bytes(b"cut")
    with pytest.raises(DataError, match=r"put cifar-100-python.tar.gz from http"):
        load(cifar(archive))


@pytest.mark.parametrize(("source", "file"), [("cifar100", "cifar-100-python.tar.gz"), ("food101", "food-101.tar.gz")])
def test_without_network_a_line_says_which_file_goes_where(source: Any, file: str, tmp_path: Path) -> None:
    for path, where in ((str(tmp_path / "mine"), "mine"), (None, f"cache/{source}")):
        with pytest.raises(DataError) as caught:
            load(DataConfig(source=source, path=path))
        line = str(caught.value)
        assert line.startswith(f"data.source {source}: not found in {tmp_path / where}, and the download failed")
        assert re.search(rf"put {re.escape(file)} from https?://\S+/{re.escape(file)} there$", line)
        assert "\n" not in line


@pytest.mark.slow
def test_torchvision_is_imported_only_where_it_is_needed() -> None:
    program = (
        "import sys; from trainer.data.config import DataConfig, Protocol; from trainer.data.tasks import build;"
        "build(DataConfig(crop=8, pad=1), Protocol(tasks=2)); assert 'torchvision' not in sys.modules;"
        "from trainer.data.torchvision_datasets import datasets; datasets().Food101;"
        "assert datasets() is sys.modules['torchvision.datasets']"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
