"""Sets of images as tables list them, and as one NumPy file holds them."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from support import source_sets
from trainer.data.config import DataConfig
from trainer.data.images import Source
from trainer.data.sources import load
from trainer.errors import ConfigError, DataError, UserError


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images 0.png to 7.png, each of the shade of its number; also in train/ and test/."""
    for place in ("", "train", "test"):
        home = tmp_path / "set" / place
        home.mkdir(parents=True, exist_ok=True)
        for shade in range(8):
            Image.new("L", (8, 8), shade).save(home / f"{shade}.png")
    return tmp_path / "set"


def config(path: Path, source: str = "csv", **fields: Any) -> DataConfig:
    return DataConfig(source=source, path=str(path), crop=8, **fields)


def read(path: Path, source: str = "csv", **fields: Any) -> Source:
    return load(config(path, source, **fields))


def line_of(kind: type[UserError], path: Path, source: str = "csv", **fields: Any) -> str:
    return source_sets.line_of(kind, config(path, source, **fields))


def shades(source: Source) -> list[list[int]]:
    """What the images of each split show, in their order."""
    return [images.pixels_NHWC[:, 0, 0, 0].tolist() for images in source.splits.values()]


def table(file: Path, *rows: str) -> None:
    file.write_text("\n".join(rows) + "\n")


# -- tables ---------------------------------------------------------------------------------------------


def test_a_table_a_split(folder: Path) -> None:
    table(folder / "train.csv", "image,label", "0.png,owl", "3.png,ant", "1.png,owl")
    table(folder / "Test.csv", "image,label", "5.png,ant", "4.png,owl")
    source = read(folder)
    assert source.class_names == ("ant", "owl")
    assert source.train.labels_N.tolist() == [1, 0, 1]
    assert shades(source) == [[0, 3, 1], [5, 4]]


@pytest.mark.parametrize(("suffix", "between"), [("csv", ","), ("csv", ";"), ("tsv", "\t")])
def test_one_table_with_a_column_of_splits(folder: Path, suffix: str, between: str) -> None:
    rows = ["file_name,class,split", "0.png,10,train", "1.png,9,test", "2.png,9,train", "3.png,10,test", "4.png,9,val"]
    file = folder / f"list.{suffix}"
    table(file, *(row.replace(",", between) for row in [*rows, "5.png,9,unused"]))
    for path in (file, folder):
        source = read(path)
        assert source.class_names == ("9", "10")
        assert shades(source) == [[0, 2], [1, 3], [4]]
        assert "1 row of no known split" in source.said[0]


def test_hugging_faces_metadata(folder: Path) -> None:
    for split in ("train", "test"):
        table(folder / split / "metadata.csv", "file_name,label", "1.png,a", '"2.png",b')
    assert shades(read(folder)) == [[1, 2], [1, 2]]
    shutil.rmtree(folder / "test")
    (folder / "train" / "metadata.csv").rename(folder / "metadata.csv")
    assert read(folder).test is None


def test_columns_can_be_named(folder: Path) -> None:
    table(
        folder / "all.csv",
        "picture,kind,part,label",
        "0.png,x,train,7",
        "1.png,y,train,7",
        "2.png,x,test,7",
        "3.png,y,test,7",
    )
    names = {"image_column": "picture", "label_column": "kind", "split_column": "part"}
    assert read(folder, **names).class_names == ("x", "y")
    assert line_of(ConfigError, folder).startswith("data.image_column: ")
    line = line_of(ConfigError, folder, **{**names, "label_column": "kinds"})
    assert line.endswith("allowed: picture, kind, part, label; did you mean 'kind'?")


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        (["image,label"], "all.csv: no images"),
        (["image,label", "0.png,0", ",1"], "all.csv: row 1 names no image"),
        (["image,label", "0.png,a", "1.png,"], "all.csv: row 1 has no label"),
        (["image,label", "0.png,0", "1.png,-1"], "all.csv: 1 of 2 labels are negative"),
        (["image,label", "0.png,0", "1.png,0.5"], "the label 0.5 in row 1 is no class"),
        (["image,label", "0.png,0", "1.png,1,1"], "all.csv: not a readable table"),
        (["image,label", "0.png,0", "gone.png,1"], "gone.png: missing"),
        (["image,label,split", "0.png,0,train", "1.png,1,"], "column 'split': row 1 says no split"),
        (["image,label,split", "0.png,0,test", "1.png,1,test"], "is of the train split, only of test"),
        (["image,label,split", "0.png,0,train", "1.png,1,test"], "label 1 of the test images has no training images"),
    ],
)
def test_bad_tables_are_one_line(folder: Path, rows: list[str], complaint: str) -> None:
    table(folder / "all.csv", *rows)
    assert complaint in line_of(DataError, folder)


def test_a_file_that_is_listed_twice(folder: Path) -> None:
    rows = ["image,label,split", "0.png,a,train", "1.png,b,train"]
    table(folder / "all.csv", *rows, "0.png,b,train")
    assert line_of(DataError, folder).endswith(f"1 images are listed with two labels: {folder}/0.png")
    table(folder / "all.csv", *rows, "0.png,a,test", "2.png,b,test")
    assert read(folder).said == (f"warning: {folder}: 1 image of the test split also listed in the train split",)


def test_which_table_is_asked_where_there_are_several(folder: Path) -> None:
    assert "has no train.csv, and no other table" in line_of(DataError, folder)
    for name in ("a", "b"):
        table(folder / f"{name}.csv", "image,label", "0.png,0", "1.png,1")
    assert line_of(DataError, folder).endswith("holds several tables (a.csv, b.csv): give one of them")
    assert read(folder / "a.csv").test is None


def test_whole_fractions_are_labels_and_numbers_are_names_of_files(folder: Path) -> None:
    shutil.copy(folder / "1.png", folder / "007")
    table(folder / "all.csv", "image,label", "007,3.0", "2.png,5.0")
    source = read(folder)
    assert source.class_names == ("3", "5")
    assert shades(source) == [[1, 2]]


# -- NumPy files ----------------------------------------------------------------------------------------

RAMP = np.arange(6 * 8 * 8, dtype=np.uint8).reshape(6, 8, 8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def medmnist(file: Path, images: NDArray[Any] = RAMP, labels: NDArray[Any] = LABELS[:, None]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    own = {
        f"{split}_{kind}": array
        for split in ("train", "val", "test")
        for kind, array in (("images", images), ("labels", labels))
    }
    np.savez(file, **own)
    return file


def test_medmnist(tmp_path: Path) -> None:
    file = medmnist(tmp_path / "set" / "pathmnist.npz")
    for path in (file, file.parent):
        source = read(path, "npz")
        assert (source.train.pixels_NHWC == RAMP[..., None]).all()
        assert source.train.labels_N.tolist() == LABELS.tolist()
        assert source.class_names == ("0", "1", "2")
        assert list(source.splits) == ["train", "test", "validation"]
    assert read(file, "npz", resize=16).train.pixels_NHWC.shape == (6, 16, 16, 1)


@pytest.mark.parametrize("keys", [("x_train", "y_train"), ("images", "labels"), ("X_Train", "Y_Train")])
def test_other_keys(tmp_path: Path, keys: tuple[str, str]) -> None:
    file = tmp_path / "set.npz"
    np.savez(file, **dict(zip(keys, (RAMP, LABELS), strict=True)))
    source = read(file, "npz")
    assert source.test is None
    assert source.train.labels_N.tolist() == LABELS.tolist()


def test_keys_that_are_not_read_are_said(tmp_path: Path) -> None:
    file = tmp_path / "set.npz"
    np.savez(file, train_images=RAMP, train_labels=LABELS, train_masks=RAMP, val_images=RAMP)
    assert read(file, "npz").said == (f"note: {file}: keys passed over: train_masks, val_images",)
    np.savez(file, train_images=RAMP, train_labels=LABELS, val_images=RAMP, val_labels=LABELS)
    assert read(file, "npz").test_name == "validation"


COLOURS = np.stack([RAMP, RAMP // 2, 255 - RAMP], 3)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        pytest.param(COLOURS, COLOURS, id="colours"),
        pytest.param(COLOURS.transpose(0, 3, 1, 2), COLOURS, id="channels first"),
        pytest.param((COLOURS / 255).astype(np.float32), COLOURS, id="fractions"),
        pytest.param(COLOURS.astype(np.uint16) * 257, COLOURS, id="16 bits"),
        pytest.param(RAMP > 99, (RAMP > 99)[..., None] * 255, id="yes and no"),
        pytest.param(np.concatenate([COLOURS, 0 * COLOURS[..., :1]], 3), 0 * COLOURS + 255, id="transparent"),
    ],
)
def test_pixels_of_any_type(tmp_path: Path, images: NDArray[Any], expected: NDArray[Any]) -> None:
    found = read(medmnist(tmp_path / "set.npz", images), "npz").train.pixels_NHWC
    assert found.shape == expected.shape
    assert (found == expected).all()


@pytest.mark.parametrize(
    ("images", "labels", "complaint"),
    [
        (RAMP, np.eye(6), "train labels have the shape [6, 6]: one label an image is needed"),
        (RAMP, LABELS[:5], "6 train images, but 5 labels"),
        (RAMP, LABELS - 1, "2 of 6 labels are negative"),
        (np.zeros((6, 8, 8, 8)), LABELS, "have the shape [6, 8, 8, 8], not [N, height, width] with 1, 3 or 4 channels"),
        (RAMP * np.nan, LABELS, "pixels that are not finite numbers"),
        (RAMP.astype(object), LABELS, "not a readable NumPy file of plain arrays"),
    ],
)
def test_bad_arrays_are_one_line(tmp_path: Path, images: Any, labels: Any, complaint: str) -> None:
    line = line_of(DataError, medmnist(tmp_path / "set.npz", images, labels), "npz")
    assert complaint in line


def test_12_bits_in_an_array_need_their_range(tmp_path: Path) -> None:
    file = medmnist(tmp_path / "set.npz", RAMP.astype(np.uint16) * 16)
    assert line_of(ConfigError, file, "npz").startswith("data.value_range: ")
    assert (read(file, "npz", value_range=(0, 255 * 16)).train.pixels_NHWC[..., 0] == RAMP).all()


def test_files_without_the_keys_are_one_line(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", pictures=RAMP)
    assert line_of(DataError, tmp_path, "npz").endswith("only the keys pictures")
    (tmp_path / "b.npz").write_bytes(b"no zip")
    assert line_of(DataError, tmp_path, "npz").endswith("several .npz files (a.npz, b.npz): give one")
    assert "b.npz: not a readable NumPy file" in line_of(DataError, tmp_path / "b.npz", "npz")
