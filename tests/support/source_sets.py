"""The smallest real data set of each source, in the files that the source reads."""

import hashlib
import importlib
import json
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from trainer.data.config import DataConfig
from trainer.data.sources import load
from trainer.data.torchvision_datasets import datasets
from trainer.errors import UserError

CLASSES = ("ant", "bee", "cat")
EACH = 6
"""images of each class in each split"""

Patch = pytest.MonkeyPatch
_NOWHERE = "http://127.0.0.1:9/"


def refuse_downloads(monkeypatch: Patch) -> None:
    """What a source would download is refused at once on every machine."""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, _NOWHERE)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


def line_of(kind: type[UserError], config: DataConfig) -> str:
    """The one line by which a data set is refused."""
    with pytest.raises(kind) as caught:
        load(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def example(name: str, folder: Path, monkeypatch: Patch) -> dict[str, Any]:
    """Fields of ``data`` that read a small set, which is written into ``folder``.

    A source that is not of this project brings its own: ``example(folder)`` in its file. Raises LookupError without.
    """
    if name in EXAMPLES:
        return EXAMPLES[name](folder, monkeypatch)
    found = importlib.import_module(f"trainer.data.sources.{name}")
    if not hasattr(found, "example"):
        raise LookupError(
            f"{found.__file__}: define example(folder), which writes a small set and returns data's fields"
        )
    fields: dict[str, Any] = found.example(folder)
    return fields


def _picture(seed: int, side: int = 16) -> Image.Image:
    return Image.fromarray(np.random.RandomState(seed).randint(0, 256, (side, side, 3), dtype=np.uint8))


def _save(file: Path, seed: int) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    _picture(seed).save(file)
    return file


def _folders(folder: Path, splits: tuple[str, ...] = ("train", "test"), classes: tuple[str, ...] = CLASSES) -> None:
    numbers = iter(range(10_000))
    for split in splits:
        for name in classes:
            for number in range(EACH):
                _save(folder / split / name / f"{number}.png", next(numbers))


def _image_folder(folder: Path, _: Patch) -> dict[str, Any]:
    _folders(folder)
    return {"path": str(folder)}


def _imagenet_subset(folder: Path, _: Patch) -> dict[str, Any]:
    _folders(folder, ("train", "val"), ("n01", "n02", "n03"))
    for listed, split in (("train", "train"), ("test", "val")):
        paths = sorted(folder.glob(f"{split}/*/*.png"))
        lines = [f"{path.relative_to(folder)} {('n01', 'n02', 'n03').index(path.parent.name)}" for path in paths]
        (folder / f"{listed}.txt").write_text("\n".join(lines))
    return {"path": str(folder), "resize": 16}


def _food101(folder: Path, _: Patch) -> dict[str, Any]:
    home = folder / "food-101"
    (home / "meta").mkdir(parents=True)
    for first, split in ((0, "train"), (100, "test")):
        names = {name: [f"{name}/{first + number}" for number in range(EACH)] for name in CLASSES}
        (home / "meta" / f"{split}.json").write_text(json.dumps(names))
        for seed, path in enumerate(path for listed in names.values() for path in listed):
            _save(home / "images" / f"{path}.jpg", first + seed)
    return {"path": str(folder), "resize": 16}


def _parquet(folder: Path, _: Patch) -> dict[str, Any]:
    _folders(folder / "files")
    for split in ("train", "test"):
        files = sorted((folder / "files" / split).glob("*/*.png"))
        columns = {"image": [file.read_bytes() for file in files], "label": [file.parent.name for file in files]}
        pq.write_table(pa.table(columns), folder / f"{split}-00000-of-00001.parquet")
    return {"path": str(folder)}


def _csv(folder: Path, _: Patch) -> dict[str, Any]:
    _folders(folder)
    rows = [
        f"{file.relative_to(folder)},{file.parent.name},{file.parts[-3]}" for file in sorted(folder.glob("*/*/*.png"))
    ]
    (folder / "images.csv").write_text("\n".join(["path,label,split", *rows]))
    return {"path": str(folder)}


def _npz(folder: Path, _: Patch) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    state, arrays = np.random.RandomState(0), {}
    for split in ("train", "val", "test"):
        arrays[f"{split}_images"] = state.randint(0, 256, (18, 16, 16), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(18)[:, None] % 3
    np.savez(folder / "set.npz", **arrays)
    return {"path": str(folder / "set.npz")}


def _webdataset(folder: Path, _: Patch) -> dict[str, Any]:
    _folders(folder / "files")
    for split in ("train", "test"):
        with tarfile.open(folder / f"{split}-000000.tar", "w") as tar:
            for number, file in enumerate(sorted((folder / "files" / split).glob("*/*.png"))):
                label = folder / "label"
                label.write_text(file.parent.name)
                tar.add(label, f"{number:06d}.cls")
                tar.add(file, f"{number:06d}.png")
    return {"path": str(folder)}


def cifar100_files(folder: Path, monkeypatch: Patch) -> Path:
    """Three classes of four images in CIFAR-100's files. Only torchvision's constants for their checksums change."""
    home = folder / "cifar-100-python"
    home.mkdir(parents=True)
    contents: dict[str, dict[str, Any]] = {"meta": {"fine_label_names": ["apple", "bear", "worm"]}}
    for seed, split in enumerate(("train", "test")):
        data = np.random.RandomState(seed).randint(0, 256, (12, 3072), dtype=np.uint8)
        contents[split] = {"data": data, "fine_labels": [i % 3 for i in range(12)], "coarse_labels": [0] * 12}
    for name, content in contents.items():
        (home / name).write_bytes(pickle.dumps(content))
    kind = datasets().CIFAR100
    monkeypatch.setattr(kind, "train_list", [["train", md5(home / "train")]])
    monkeypatch.setattr(kind, "test_list", [["test", md5(home / "test")]])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": md5(home / "meta")})
    return folder


def md5(file: Path) -> str:
    return hashlib.md5(file.read_bytes()).hexdigest()


EXAMPLES: dict[str, Callable[[Path, Patch], dict[str, Any]]] = {
    "cifar100": lambda folder, monkeypatch: {"path": str(cifar100_files(folder, monkeypatch))},
    "csv": _csv,
    "digits": lambda folder, monkeypatch: {},
    "food101": _food101,
    "image_folder": _image_folder,
    "imagenet_subset": _imagenet_subset,
    "npz": _npz,
    "parquet": _parquet,
    "webdataset": _webdataset,
}
