"""WebDataset's tar files: right images and labels, and one line for what is wrong with them."""

import io
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from support.source_sets import line_of
from trainer.data.config import DataConfig
from trainer.data.images import Source
from trainer.data.sources import load
from trainer.errors import DataError


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIL_CACHE", str(tmp_path / "cache"))


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (8, 8), shade).save(buffer, "PNG")
    return buffer.getvalue()


def tar(file: Path, **members: bytes | str) -> None:
    """``a_png=...`` is the member ``a.png``."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as opened:
        for name, content in members.items():
            info = tarfile.TarInfo(name.replace("_", "."))
            data = content.encode() if isinstance(content, str) else content
            info.size = len(data)
            opened.addfile(info, io.BytesIO(data))


def config(folder: Path) -> DataConfig:
    return DataConfig(source="webdataset", path=str(folder), crop=8)


def read(folder: Path) -> Source:
    return load(config(folder))


def refused(folder: Path) -> str:
    return line_of(DataError, config(folder))


def shards(folder: Path, *names: str) -> Path:
    for first, name in enumerate(names):
        tar(folder / name, a_png=png(2 * first), a_cls="0", b_cls="1", b_png=png(2 * first + 1))
    return folder


@pytest.mark.parametrize(
    "names",
    [
        ("train-0000.tar", "train-0001.tar", "test-0000.tar"),
        ("pets-train-00.tar", "pets-train-01.tar", "pets-val-00.tar"),
        ("train/0000.tar", "train/0001.tar", "Test/0000.tar"),
    ],
)
def test_samples_of_shards(tmp_path: Path, names: tuple[str, ...]) -> None:
    source = read(shards(tmp_path, *names))
    assert source.train.labels_N.tolist() == [0, 1, 0, 1]
    assert sorted(source.train.pixels_NHWC[:, 0, 0, 0].tolist()) == [0, 1, 2, 3]
    assert source.test is not None
    assert source.test.pixels_NHWC[:, 0, 0, 0].tolist() == [4, 5]


def test_one_file_alone(tmp_path: Path) -> None:
    source = read(shards(tmp_path, "pets.tar") / "pets.tar")
    assert source.train.labels_N.tolist() == [0, 1]
    assert source.test is None


def test_names_json_and_what_is_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    label = {"label": "owl", "width": 8}
    tar(tmp_path / "train-0.tar", a_png=png(1), a_json=json.dumps(label), b_png=png(2), b_cls="ant", b_txt="an ant")
    source = read(tmp_path)
    assert source.class_names == ("ant", "owl")
    assert source.train.labels_N.tolist() == [1, 0]
    assert "1 member of tar files passed over" in capsys.readouterr().err


def test_what_is_wrong_is_one_line(tmp_path: Path) -> None:
    line = refused(shards(tmp_path / "gap", "train-0000.tar", "train-0002.tar"))
    assert line.endswith("shards are missing between train-0000.tar and train-0002.tar: 1")
    assert "says train, test or validation" in refused(shards(tmp_path / "name", "pets-00.tar"))
    (tmp_path / "empty").mkdir()
    assert "has no train*.tar" in refused(tmp_path / "empty")
    tar(tmp_path / "label" / "train-0.tar", a_png=png(1), a_cls="0", b_png=png(2))
    assert refused(tmp_path / "label").endswith("train-0.tar: 1 of 2 images have no label: b")
    shards(tmp_path / "broken", "train-0.tar")
    (tmp_path / "broken" / "train-1.tar").write_bytes(b"no tar")
    assert "train-1.tar: not a readable tar file" in refused(tmp_path / "broken")
    tar(tmp_path / "image" / "train-0.tar", a_png=b"no image", a_cls="0", b_png=png(2), b_cls="1")
    assert "train-0.tar a.png: cannot be decoded" in refused(tmp_path / "image")
