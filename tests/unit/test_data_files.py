"""Class folders, list files, ImageNet's subset and Food-101's layout, with real image files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from support.source_sets import line_of
from trainer.data.config import DataConfig
from trainer.data.images import ImageSet, Source
from trainer.data.sources import load
from trainer.data.sources.imagenet_subset import choose, drawn
from trainer.errors import ConfigError, DataError


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "set"


def save(file: Path, shade: int, size: tuple[int, int] = (16, 16)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, 0, 255 - shade)).save(file)


def shades(source: Source) -> list[int]:
    return source.train.pixels_NHWC[:, 0, 0, 0].tolist()


def class_folders(folder: Path, names: list[str], test: str = "test") -> None:
    for split in ("train", test):
        for shade, name in enumerate(names):
            for image in ("a.png", "b.png"):
                save(folder / split / name / image, shade)


def config(folder: Path, source: str = "image_folder", **fields: Any) -> DataConfig:
    return DataConfig(source=source, path=str(folder), crop=16, **fields)


@pytest.mark.parametrize("test", ["test", "val"])
def test_class_folders(folder: Path, test: str) -> None:
    class_folders(folder, ["ant", "bee", "cat"], test)
    (folder / "train" / "ant" / ".hidden.png").write_bytes(b"")
    (folder / "train" / "ant" / "notes.txt").write_text("not an image")
    save(folder / "train" / "bee" / "deeper" / "c.jpg", 1)
    source = load(config(folder))
    assert source.class_names == ("ant", "bee", "cat")
    assert source.train.labels_N.tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert source.test.labels_N.tolist() == [0, 0, 1, 1, 2, 2]
    assert shades(source)[:2] == [0, 0]
    assert source.fingerprint == load(config(folder)).fingerprint


def test_images_that_are_left_out_are_named_where_they_lie_now(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class_folders(folder, ["ant", "bee"])
    (folder / "train" / "ant" / "broken.png").write_bytes(b"no image")
    load(config(folder, on_bad_image="skip"))
    assert f"{folder}/train/ant/broken.png: " in capsys.readouterr().err
    moved = folder.rename(folder.with_name("moved"))
    load(config(moved, on_bad_image="skip"))
    assert f"{moved}/train/ant/broken.png: " in capsys.readouterr().err


@pytest.mark.parametrize("grey", [False, True])
def test_images_from_files_have_the_digest_of_their_pixels(folder: Path, grey: bool) -> None:
    class_folders(folder, ["ant", "bee"])
    if grey:
        Image.new("L", (16, 16), 3).save(folder / "train" / "ant" / "grey.png")
    images = load(config(folder)).train
    assert images.digest == ImageSet.of(np.array(images.pixels_NHWC), images.labels_N).digest


def test_classes_txt_orders_and_chooses(folder: Path) -> None:
    class_folders(folder, ["ant", "bee", "cat"])
    (folder / "classes.txt").write_text("cat\n\nant\n")
    source = load(config(folder))
    assert source.class_names == ("cat", "ant")
    assert shades(source) == [2, 2, 0, 0]
    assert source.said == (f"note: {folder}: class folders that classes.txt leaves out: bee",)
    (folder / "classes.txt").write_text("cat\ndog\n")
    assert line_of(DataError, config(folder)).endswith("has no folder dog")


def test_list_files(folder: Path) -> None:
    class_folders(folder, ["ant", "bee with a sting"])
    absolute = folder / "train" / "ant" / "a.png"
    (folder / "train.txt").write_text(
        f"train/bee with a sting/a.png 0\n{absolute}\t1\n\ntrain/bee with a sting/b.png 0\n"
    )
    (folder / "test.txt").write_text("test/ant/a.png 1\ntest/bee with a sting/a.png 0\n")
    source = load(config(folder))
    assert source.class_names == ("bee with a sting", "ant")
    assert source.train.labels_N.tolist() == [0, 1, 0]
    assert source.test.labels_N.tolist() == [1, 0]
    assert shades(source) == [1, 0, 1]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("train/ant/a.png", "train.txt line 2: 'train/ant/a.png' is not a path and a label"),
        ("train/ant/a.png one", "is not a path and a label"),
        ("train/ant/gone.png 0", "train/ant/gone.png: missing; data.on_bad_image: skip leaves such images out"),
        ("train/ant 0", "cannot be decoded (IsADirectoryError"),
    ],
)
def test_bad_lists(folder: Path, line: str, complaint: str) -> None:
    class_folders(folder, ["ant", "bee"])
    (folder / "train.txt").write_text(f"train/ant/a.png 0\n{line}\ntrain/bee/a.png 1\n")
    (folder / "test.txt").write_text("test/ant/a.png 0\ntest/bee/a.png 1\n")
    assert complaint in line_of(DataError, config(folder))


def test_missing_images_can_be_skipped(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class_folders(folder, ["ant", "bee"])
    lines = ["train/ant/a.png 0", "train/bee/b.png 1", *(f"train/ant/{i}.png 0" for i in range(12))]
    (folder / "train.txt").write_text("\n".join(lines))
    (folder / "test.txt").write_text("test/ant/a.png 0\ntest/bee/a.png 1\n")
    assert len(load(config(folder, on_bad_image="skip")).train.labels_N) == 2
    told = capsys.readouterr().err
    assert "12 of 14 images skipped" in told
    assert "ant/9.png: missing; and 2 more" in told
    for number in range(12):
        save(folder / f"train/ant/{number}.png", 9)
    assert len(load(config(folder)).train.labels_N) == 14


def test_folders_that_lack_something(folder: Path) -> None:
    folder.mkdir()
    assert "neither train.txt nor the folders train/ and test/" in line_of(DataError, config(folder))
    (folder / "train").mkdir()
    (folder / "test").mkdir()
    assert line_of(DataError, config(folder)).endswith("train: no class folders")
    class_folders(folder, ["ant", "bee"])
    (folder / "train" / "cat").mkdir()
    (folder / "classes.txt").write_text("cat\nant\n")
    assert line_of(DataError, config(folder)).endswith("class cat has no images")
    (folder / "train.txt").write_text("\n")
    (folder / "test.txt").write_text("test/ant/a.png 0\n")
    assert line_of(DataError, config(folder)).endswith("train.txt: no images")
    (folder / "train.txt").write_bytes(b"\xff\xfe\x00")
    assert "train.txt: cannot be read" in line_of(DataError, config(folder))


def test_sizes(folder: Path) -> None:
    class_folders(folder, ["ant", "bee"])
    save(folder / "train" / "ant" / "wide.png", 3, (64, 32))
    assert line_of(ConfigError, config(folder)).startswith("data.resize: ")
    assert load(config(folder, resize=24)).train.pixels_NHWC.shape == (5, 24, 24, 3)


def test_imagenet_subset_takes_the_published_draw() -> None:
    synsets = [f"n{i:08d}" for i in range(1000)]
    assert choose(synsets, Path("train")) == [synsets[index] for index in drawn()]
    assert choose(synsets, Path("train"))[:2] == [synsets[54], synsets[7]]
    assert choose(synsets[:100], Path("train")) == synsets[:100]


def test_imagenet_subset_from_its_lists_keeps_their_labels(folder: Path) -> None:
    class_folders(folder, ["n01", "n02"], "val")
    (folder / "train.txt").write_text("train/n02/a.png 0\ntrain/n01/a.png 1\n")
    (folder / "test.txt").write_text("val/n02/a.png 0\nval/n01/a.png 1\n")
    source = load(config(folder, "imagenet_subset"))
    assert source.class_names == ("n02", "n01")
    assert source.train.pixels_NHWC.shape == (2, 256, 256, 3)
    assert load(config(folder, "imagenet_subset", resize=32)).train.pixels_NHWC.shape == (2, 32, 32, 3)


def test_imagenet_subset_of_another_number_of_classes(folder: Path) -> None:
    class_folders(folder, ["n01", "n02"])
    assert "2 class folders, but ImageNetSubset takes 100 of 1000" in line_of(
        DataError, config(folder, "imagenet_subset")
    )


def test_food101_layout(folder: Path) -> None:
    home = folder / "food-101"
    for shade, name in enumerate(["waffles", "apple_pie"]):
        for image in range(3):
            save(home / "images" / name / f"{image}.jpg", shade * 200, (40, 60))
    (home / "meta").mkdir()
    meta = {"waffles": ["waffles/2", "waffles/0"], "apple_pie": ["apple_pie/1"]}
    (home / "meta" / "train.json").write_text(json.dumps(meta))
    (home / "meta" / "test.json").write_text(json.dumps({"waffles": ["waffles/1"], "apple_pie": ["apple_pie/0"]}))
    source = load(config(folder, "food101", resize=32))
    assert source.class_names == ("apple_pie", "waffles")
    assert source.train.labels_N.tolist() == [0, 1, 1]
    assert np.abs(np.array(shades(source)) - [200, 0, 0]).max() < 8
    (home / "meta" / "train.json").write_text("{")
    assert "train.json: cannot be read" in line_of(DataError, config(folder, "food101"))
