"""Odd sets of real images, as people bring them: each gives the right images, or one line that says what is wrong.

Eighteen of scikit-learn's digits, in three classes, are written in many ways. Whatever is not read is said on stderr.
"""

import io
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, features
from sklearn.datasets import load_digits

from trainer.data.config import DataConfig
from trainer.data.file_types import readable
from trainer.data.sources import load
from trainer.errors import UserError

CLASSES = ("0", "1", "2")
EACH = {"train": 4, "test": 2}


def digits() -> dict[str, list[tuple[str, Any]]]:
    """The class and the ``[8, 8]`` grey levels of each image, by split, in the order of the classes."""
    bunch = load_digits()
    found: dict[str, list[tuple[str, Any]]] = {"train": [], "test": []}
    for name in CLASSES:
        images = (bunch.images[bunch.target == int(name)] * 15).astype(np.uint8)
        found["train"] += [(name, image) for image in images[:4]]
        found["test"] += [(name, image) for image in images[4:6]]
    return found


DIGITS = digits()
Picture = Callable[[Any], Image.Image]


class Odd(NamedTuple):
    """One way to write the digits."""

    write: Callable[[Path], Path | None]
    """into this folder; returns ``data.path`` where it is not the folder"""
    source: str = "image_folder"
    fields: Mapping[str, Any] = MappingProxyType({})
    refused: tuple[str, ...] = ()
    """what the one line says; empty where the right images come out"""
    said: tuple[str, ...] = ()
    """what is said on stderr"""
    near: int = 0
    """grey levels that a lossy format may be off"""
    splits: tuple[str, ...] = ("train", "test")


def folders(
    folder: Path,
    picture: Picture = Image.fromarray,
    suffix: str = "png",
    names: dict[str, str] | None = None,
    **options: Any,
) -> None:
    """``SPLIT/CLASS/NUMBER.SUFFIX``; ``names``: of the splits."""
    for split, images in DIGITS.items():
        for number, (name, image) in enumerate(images):
            file = folder / (names or {}).get(split, split) / name / f"{number:02d}.{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            picture(image).save(file, **options)


def as_mode(picture: Picture, suffix: str = "png", **options: Any) -> Callable[[Path], None]:
    return lambda folder: folders(folder, picture, suffix, **options)


def and_then(change: Callable[[Path], Any]) -> Callable[[Path], None]:
    """Class folders of grey images, with a change."""

    def write(folder: Path) -> None:
        folders(folder)
        change(folder)

    return write


def put(*names: str) -> Callable[[Path], None]:
    """Files that are no images."""

    def write(folder: Path) -> None:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"no image")

    return and_then(write)


# -- modes ------------------------------------------------------------------------------------------------


def hidden(mode: str) -> Picture:
    """Black, as opaque as the digit is dark: white shows through."""

    def picture(image: Any) -> Image.Image:
        black = Image.new("L" if mode == "LA" else "RGB", (8, 8))
        black.putalpha(Image.fromarray(255 - image))
        return black

    return picture


def turned(image: Any) -> Image.Image:
    return Image.fromarray(image).transpose(Image.Transpose.ROTATE_90)


def orientation() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def scaled(factor: float, kind: Any) -> Picture:
    return lambda image: Image.fromarray((image.astype(float) * factor).astype(kind))


NEEDS_RANGE = ("data.value_range: ", "give the values that become black and white")

MODES = {
    "grey": Odd(as_mode(Image.fromarray)),
    "colour": Odd(as_mode(lambda image: Image.fromarray(image).convert("RGB"))),
    "16 bits": Odd(as_mode(scaled(257, np.uint16))),
    "16 bits in TIFF": Odd(as_mode(scaled(257, np.uint16), "tif")),
    "32 bits": Odd(as_mode(scaled(257, np.int32), "tiff")),
    "12 bits in 16": Odd(as_mode(scaled(16, np.uint16)), refused=(*NEEDS_RANGE, "[0, 4095]")),
    "12 bits with their range": Odd(as_mode(scaled(16, np.uint16)), fields={"value_range": (0, 255 * 16)}),
    "fractions to 1": Odd(as_mode(scaled(1 / 255, np.float32), "tiff")),
    "fractions to 255": Odd(as_mode(scaled(1, np.float32), "tiff"), refused=(*NEEDS_RANGE, "[0, 255]")),
    "fractions with their range": Odd(as_mode(scaled(1, np.float32), "tiff"), fields={"value_range": (0, 255)}),
    "RGBA": Odd(as_mode(hidden("RGBA")), near=1),
    "LA": Odd(as_mode(hidden("LA")), near=1),
    "RGBA in WebP": Odd(as_mode(hidden("RGBA"), "webp", lossless=True, exact=True), near=1),
    "palette": Odd(as_mode(lambda image: Image.fromarray(image).convert("P"))),
    "CMYK": Odd(as_mode(lambda image: Image.fromarray(image).convert("CMYK"), "tif"), near=1),
    "turned by EXIF": Odd(as_mode(turned, exif=orientation())),
    "turned by EXIF in JPEG": Odd(as_mode(turned, "JPG", exif=orientation(), quality=100), near=12),
    "JPEG": Odd(as_mode(Image.fromarray, "jpeg", quality=100), near=12),
    "GIF": Odd(as_mode(Image.fromarray, "gif")),
    "BMP": Odd(as_mode(Image.fromarray, "bmp")),
    "several pages": Odd(as_mode(Image.fromarray, "tif", save_all=True, append_images=[Image.new("L", (8, 8))])),
    "AVIF": Odd(as_mode(lambda image: Image.fromarray(image).convert("RGB"), "avif", quality=100), near=16),
    "of several sizes": Odd(
        and_then(lambda folder: Image.new("L", (9, 9)).save(folder / "train" / "0" / "99.png")),
        refused=("data.resize: ", "images differ in size"),
    ),
}

# -- layouts ----------------------------------------------------------------------------------------------


def corrupt(folder: Path) -> None:
    for split in ("train", "test"):
        (folder / split / "1" / "99.png").write_bytes(b"no image")


def lists(folder: Path) -> None:
    folders(folder / "files")
    for split in DIGITS:
        paths = sorted((folder / "files" / split).glob("*/*.png"))
        (folder / f"{split}.txt").write_text("\n".join(f"{p.relative_to(folder)} {p.parent.name}" for p in paths))


def colour_tests(folder: Path) -> None:
    for file in (folder / "test").glob("*/*.png"):
        Image.open(file).convert("RGB").save(file)


def merge_splits(folder: Path) -> None:
    shutil.rmtree(folder / "test")
    for entry in (folder / "train").iterdir():
        entry.rename(folder / entry.name)
    (folder / "train").rmdir()


LAYOUTS = {
    "valid": Odd(lambda folder: folders(folder, names={"test": "valid"})),
    "Train and TEST": Odd(lambda folder: folders(folder, names={"train": "Train", "test": "TEST"})),
    "no splits": Odd(and_then(merge_splits), splits=("train",)),
    "training images alone": Odd(and_then(lambda folder: shutil.rmtree(folder / "test")), splits=("train",)),
    "a split twice": Odd(
        and_then(lambda folder: shutil.copytree(folder / "train", folder / "Train")), refused=("both Train and train",)
    ),
    "of the operating system": Odd(
        put("train/.DS_Store", "train/0/._00.png", "test/__MACOSX/0/00.png", "train/1/Thumbs.db"),
        said=("4 files passed over: 4 hidden or of the operating system",),
    ),
    "other types": Odd(put("train/0/a.txt", "train/0/a.psd", "test/1/b.txt"), said=("3 files", "2 .txt", "1 .psd")),
    "an empty class folder": Odd(
        and_then(lambda folder: (folder / "train" / "3").mkdir()), said=("without images passed over: 3",)
    ),
    "a class of the test images alone": Odd(
        and_then(lambda folder: shutil.copytree(folder / "test" / "2", folder / "test" / "9")),
        refused=("classes without training images", ": 9;"),
    ),
    "a class without test images": Odd(
        and_then(lambda folder: shutil.rmtree(folder / "test" / "1")), refused=("test/1: class 1 has no images",)
    ),
    "corrupt files": Odd(
        and_then(corrupt), refused=("2 of 20 images cannot be read", "train/1/99.png", "test/1/99.png")
    ),
    "corrupt files to skip": Odd(
        and_then(corrupt), fields={"on_bad_image": "skip"}, said=("1 of 13 images skipped", "1 of 7 images skipped")
    ),
    "a folder around it": Odd(lambda folder: folders(folder / "archive"), refused=("did you mean", "archive")),
    "lists of files": Odd(lists),
    "grey training, colour tests": Odd(and_then(colour_tests)),
    "HEIC": Odd(put("train/0/IMG_1.HEIC"), said=("1 .heic (needs pillow-heif",)),
}

# -- Parquet ----------------------------------------------------------------------------------------------


def png(image: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def rows(split: str) -> tuple[list[bytes], list[int]]:
    return [png(image) for _, image in DIGITS[split]], [int(name) for name, _ in DIGITS[split]]


def write_table(file: Path, images: Any, labels: Any, names: tuple[str, ...] = (), **more: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"image": images, "label": labels, **more})
    if names:
        features_ = {"label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features_}})})
    pq.write_table(table, file)


def parquet(
    *,
    shards: int = 1,
    home: str = "",
    label: Callable[[list[int]], Any] = list,
    struct: bool = False,
    names: tuple[str, ...] = (),
    last: int | None = None,
) -> Callable[[Path], None]:
    """``HOME/SPLIT-00000-of-0000N.parquet``, but no shard after ``last``."""

    def write(folder: Path) -> None:
        for split in DIGITS:
            images, labels = rows(split)
            values: Any = [{"bytes": image, "path": None} for image in images] if struct else images
            bounds = np.linspace(0, len(images), shards + 1).astype(int)
            for number in range(shards if last is None else last + 1):
                own = slice(bounds[number], bounds[number + 1])
                file = folder / home / f"{split}-{number:05d}-of-{shards:05d}.parquet"
                write_table(file, values[own], label(labels[own]), names)

    return write


def with_copy(name: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        parquet()(folder)
        shutil.copy(folder / "train-00000-of-00001.parquet", folder / name)

    return write


def one_file(folder: Path) -> Path:
    images, labels = (a + b for a, b in zip(rows("train"), rows("test"), strict=True))
    splits = [split for split, own in DIGITS.items() for _ in own]
    write_table(folder / "digits.parquet", images, labels, split=splits)
    return folder / "digits.parquet"


def two_configurations(folder: Path) -> None:
    for name in ("plain", "cropped"):
        parquet(home=name)(folder)


PARQUET = {
    "shards": Odd(parquet(shards=3)),
    "structs in data/": Odd(parquet(shards=2, home="data", struct=True)),
    "a configuration's folder": Odd(parquet(home="default")),
    "two configurations": Odd(two_configurations, refused=("give the folder of one", "cropped", "plain")),
    "a missing shard": Odd(
        parquet(shards=3, last=1),
        refused=("1 of 3 shards of the train split are missing: train-00002-of-00003.parquet",),
    ),
    "a copied shard": Odd(with_copy("train-00000-of-00001 (1).parquet"), said=("1 Parquet file passed over", "(1)")),
    "an extra file": Odd(with_copy("train_extra.parquet"), said=("passed over", "train_extra.parquet")),
    "one file, a column of splits": Odd(one_file),
    "labels of text": Odd(parquet(label=lambda labels: [str(label) for label in labels])),
    "categories": Odd(parquet(label=lambda labels: pa.array([str(label) for label in labels]).dictionary_encode())),
    "names in the metadata": Odd(parquet(names=CLASSES)),
    "too few names": Odd(parquet(names=CLASSES[:2]), refused=("label 2, but the file's metadata name 2 classes",)),
    "whole fractions": Odd(parquet(label=lambda labels: [float(label) for label in labels])),
    "fractions": Odd(
        parquet(label=lambda labels: [label + 0.5 for label in labels]), refused=("label 0.5 in row 0 is no class",)
    ),
    "hidden labels": Odd(
        parquet(label=lambda labels: [label - 1 for label in labels]), refused=("4 of 12 labels are negative", "-1")
    ),
    "a missing label": Odd(parquet(label=lambda labels: [None, *labels[1:]]), refused=("train", "row 0 has no label")),
}

# -- tables and arrays ------------------------------------------------------------------------------------


def csv(folder: Path) -> None:
    folders(folder)
    lines = [f"{p.relative_to(folder)},{p.parent.name},{p.parts[-3]}" for p in sorted(folder.glob("*/*/*.png"))]
    (folder / "images.csv").write_text("\n".join(["file_name,label,split", *lines]))


def csv_with_a_gap(folder: Path) -> None:
    csv(folder)
    (folder / "train" / "0" / "00.png").unlink()


def metadata(folder: Path) -> None:
    folders(folder)
    for split in DIGITS:
        home = folder / split
        lines = [f"{p.relative_to(home)},{p.parent.name}" for p in sorted(home.glob("*/*.png"))]
        (home / "metadata.csv").write_text("\n".join(["file_name,label", *lines]))


def npz(change: Callable[[Any], Any] = np.asarray, label: Callable[[Any], Any] = np.asarray) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {}
        for split, images in DIGITS.items():
            arrays[f"{split}_images"] = change(np.stack([image for _, image in images]))
            arrays[f"{split}_labels"] = label(np.array([[int(name)] for name, _ in images]))
        np.savez(folder / "digitsmnist.npz", **arrays)
        return folder / "digitsmnist.npz"

    return write


TABLES = {
    "CSV": Odd(csv, "csv"),
    "CSV that names a missing file": Odd(csv_with_a_gap, "csv", refused=("train/0/00.png: missing",)),
    "metadata.csv": Odd(metadata, "csv"),
    "MedMNIST": Odd(npz(), "npz"),
    "MedMNIST in colour, channels first": Odd(npz(lambda images: np.stack([images] * 3, 1)), "npz"),
    "an array of 12 bits": Odd(npz(lambda images: images * np.uint16(16)), "npz", refused=NEEDS_RANGE),
    "several labels an image": Odd(npz(label=lambda labels: np.hstack([labels] * 2)), "npz", refused=("one label an",)),
}

SETS = {**MODES, **LAYOUTS, **{name: odd._replace(source="parquet") for name, odd in PARQUET.items()}, **TABLES}


def test_there_are_at_least_forty() -> None:
    assert len(SETS) >= 40


@pytest.mark.parametrize("name", SETS)
def test_right_images_or_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = SETS[name]
    if (name == "AVIF" and not features.check("avif")) or (name == "HEIC" and ".heic" in readable()):
        pytest.skip("depends on what the installed Pillow reads")
    monkeypatch.setenv("CIL_CACHE", str(tmp_path / "cache"))
    path = odd.write(tmp_path / "set") or tmp_path / "set"
    data = DataConfig(source=odd.source, path=str(path), crop=8, **odd.fields)
    if odd.refused:
        with pytest.raises(UserError) as caught:
            load(data)
        line = str(caught.value)
        assert "\n" not in line
        assert [part for part in odd.refused if part not in line] == []
        return
    source = load(data)
    told = capsys.readouterr().err
    assert [part for part in odd.said if part not in told] == []
    assert bool(told) == bool(odd.said), "what is not read is said, and nothing else"
    assert tuple(source.splits) == odd.splits
    for split, images in source.splits.items():
        names = [source.class_names[label] for label in images.labels_N]
        assert names == [name for name, _ in DIGITS[split]]
        expected = np.stack([image for _, image in DIGITS[split]]).astype(int)[..., None]
        assert np.abs(images.pixels_NHWC.astype(int) - expected).max() <= odd.near
