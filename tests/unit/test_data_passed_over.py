"""What lies in a folder of images and is not read is counted in a line; what contradicts itself is refused."""

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from support.source_sets import line_of
from trainer.data.config import DataConfig
from trainer.data.images import Source
from trainer.data.sources import load
from trainer.errors import DataError

HEIC = importlib.util.find_spec("pillow_heif") is not None


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return a_set(tmp_path / "set")


def a_set(folder: Path, train: str = "train", test: str = "test") -> Path:
    """Two images of two classes in each split."""
    for split in (train, test):
        for shade, name in enumerate(("ant", "bee")):
            for image in ("a.png", "b.png"):
                save(folder / split / name / image, shade)
    return folder


def save(file: Path, shade: int = 0, **options: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), (shade, 0, 0)).save(file, **options)


def config(folder: Path) -> DataConfig:
    return DataConfig(source="image_folder", path=str(folder), crop=16)


def read(folder: Path) -> Source:
    return load(config(folder))


def refused(folder: Path) -> str:
    return line_of(DataError, config(folder))


def test_a_clean_folder_says_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert read(folder).said == ()
    assert capsys.readouterr() == ("", "")


def test_files_that_are_not_read_are_counted_with_reasons(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in (".DS_Store", "ant/.DS_Store", "ant/._a.png", "bee/Thumbs.db", "__MACOSX/ant/a.png"):
        (folder / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "train" / name).write_bytes(b"")
    save(folder / "train" / "ant" / ".ipynb_checkpoints" / "a-checkpoint.png")
    save(folder / "train" / "stray.png")
    for name in ("ant/notes.txt", "bee/clip.MP4", "bee/clip2.mp4"):
        (folder / "train" / name).write_bytes(b"")
    source = read(folder)
    assert len(source.train.labels_N) == 4
    lost, others = source.said
    assert lost == f"warning: {folder}: 1 image passed over: 1 .png in train/ itself, in no class folder"
    assert others.startswith(f"note: {folder}: 9 files passed over: 6 hidden or of the operating system, 2 .mp4 ")
    assert "1 .txt " in others
    assert capsys.readouterr().err == f"{lost}\n{others}\n"


def test_classes_without_images_are_said(folder: Path) -> None:
    for split in ("train", "test"):
        (folder / split / "cat").mkdir()
    (folder / "train" / "dog").mkdir()
    source = read(folder)
    assert source.class_names == ("ant", "bee")
    assert source.said == (f"note: {folder}: class folders without images passed over: cat, dog",)


def test_a_class_of_the_test_images_alone_is_refused(folder: Path) -> None:
    save(folder / "test" / "Ant2" / "a.png")
    line = refused(folder)
    assert f"{folder}/test: classes without training images in {folder}/train: Ant2; " in line
    (folder / "train" / "Ant2").mkdir()  # an empty folder does not help
    assert "classes without training images" in refused(folder)
    (folder / "classes.txt").write_text("bee\nant\n")
    assert read(folder).class_names == ("bee", "ant")


def test_all_classes_without_test_images_are_named(folder: Path) -> None:
    for name in ("cat", "dog"):
        save(folder / "train" / name / "a.png")
    assert refused(folder) == f"{folder}/test: classes without images: cat, dog"


@pytest.mark.parametrize(
    ("train", "test"),
    [("Train", "Test"), ("TRAIN", "valid"), ("training", "Val"), ("train", "testing"), ("train", "dev")],
)
def test_splits_by_any_of_their_names(tmp_path: Path, train: str, test: str) -> None:
    source = read(a_set(tmp_path / "set", train, test))
    assert source.train.labels_N.tolist() == source.test.labels_N.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("file", "source"), [("data/train-0-of-1.parquet", "parquet"), ("Train.CSV", "csv"), ("pathmnist.npz", "npz")]
)
def test_files_of_another_source_are_recognised(tmp_path: Path, file: str, source: str) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_bytes(b"")
    suffix = Path(file).suffix.lower()
    for path in (tmp_path, tmp_path / file):
        assert refused(path).endswith(f"; data.source: {source} reads {suffix} files")


@pytest.mark.parametrize("source", ["parquet", "csv", "npz"])
def test_class_folders_are_recognised(folder: Path, source: str) -> None:
    with pytest.raises(DataError, match=r"; data\.source: image_folder reads class folders$"):
        load(DataConfig(source=source, path=str(folder)))


def test_a_path_with_a_slip_is_recognised(folder: Path) -> None:
    assert refused(folder.parent / "sets") == f"data.path: {folder.parent}/sets is missing; did you mean 'set'?"


def test_all_oddities_are_said_before_a_file_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("notes.txt", "broken.png"):
        (folder / "train" / "ant" / name).write_bytes(b"no image")
    assert "broken.png: cannot be decoded" in refused(folder)
    assert "1 file passed over: 1 .txt" in capsys.readouterr().err


def test_class_folders_without_splits(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for name in ("ant", "bee"):
        save(folder / name / "a.png")
    (folder / "README.md").write_text("two classes")
    (folder / ".cache").mkdir()
    source = read(folder)
    assert source.class_names == ("ant", "bee")
    assert source.test is None
    assert source.said == (f"note: {folder}: 1 file passed over: 1 .md (no image type that is read here)",)


def test_a_folder_of_training_images_alone(folder: Path) -> None:
    shutil.rmtree(folder / "test")
    assert read(folder).test is None
    (folder / "train").rename(folder / "test")
    assert refused(folder) == f"data.path: {folder} has no folder train/, only test"


def test_validation_images_are_test_images_only_where_there_are_no_others(folder: Path) -> None:
    save(folder / "valid" / "ant" / "v.png")
    source = read(folder)
    assert source.test is not None
    assert source.validation is not None
    assert (len(source.test.labels_N), len(source.validation.labels_N)) == (4, 1)
    shutil.rmtree(folder / "test")
    save(folder / "valid" / "bee" / "v.png")
    source = read(folder)
    assert source.test is not None
    assert source.validation is None
    assert len(source.test.labels_N) == 2


def test_a_split_that_is_there_twice_is_refused(folder: Path) -> None:
    a_set(folder, "Training")
    assert refused(folder) == f"{folder}: both Training and train hold the train split: keep one"


def test_the_set_is_named_where_a_folder_around_it_is_given(folder: Path) -> None:
    assert f"did you mean {str(folder)!r}?" in refused(folder.parent)
    shutil.rmtree(folder / "test")
    (folder / "train").rename(folder.parent / "classes")
    shutil.rmtree(folder)
    assert refused(folder.parent).endswith(f"; did you mean {str(folder.parent / 'classes')!r}?")


def test_the_set_is_named_where_a_folder_or_file_in_it_is_given(folder: Path) -> None:
    hint = "; if it is one class of several, give the folder around them:"
    for inner in ("train/ant", "train/ant/a.png", "test/bee"):
        assert refused(folder / inner).endswith(f"{hint} {str(folder)!r}")
    shutil.rmtree(folder / "test")
    (folder / "train").rename(folder.parent / "classes")
    assert refused(folder.parent / "classes" / "ant").endswith(f"{hint} {str(folder.parent / 'classes')!r}")


def test_an_empty_folder_beside_images_means_none_of_them(folder: Path) -> None:
    (folder / "train" / "empty").mkdir()
    assert "train/empty has neither" in refused(folder / "train" / "empty")
    assert refused(folder / "train" / "empty").endswith("nor two class folders")


def test_one_split_of_a_set_is_said_to_be_one(folder: Path) -> None:
    for split, other in (("train", "test"), ("test", "train")):
        (line,) = read(folder / split).said
        assert line == f"warning: {folder / split} is one split of {folder}, whose {other} is not read"


def test_sets_that_are_read_as_classes_are_said_to_be_sets(tmp_path: Path) -> None:
    for name in ("first/ant", "first/bee", "second/ant", "second/bee"):
        save(tmp_path / "sets" / name / "a.png")
    (line,) = read(tmp_path / "sets").said
    assert line.startswith(f"note: {tmp_path}/sets: each class folder holds folders of images; ")
    save(tmp_path / "sets" / "second" / "a.png")
    assert read(tmp_path / "sets").said == ()


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_avif(folder: Path) -> None:
    for split in ("train", "test"):
        save(folder / split / "ant" / "c.AVIF", 200, quality=100)
    source = read(folder)
    assert source.train.labels_N.tolist() == [0, 0, 0, 1, 1]
    assert np.abs(source.train.pixels_NHWC[2, 8, 8].astype(int) - [200, 0, 0]).max() < 6


@pytest.mark.skipif(HEIC, reason="pillow-heif is installed")
def test_heic_without_its_reader_is_counted_with_what_to_install(folder: Path) -> None:
    (folder / "train" / "ant" / "IMG_1.HEIC").write_bytes(b"")
    (line,) = read(folder).said
    assert line.startswith("warning: ")
    assert "1 .heic (needs pillow-heif: pip install 'imbalanced-cil-sweeper[heic]')" in line


@pytest.mark.skipif(not HEIC, reason="pillow-heif is not installed")
def test_heic(folder: Path) -> None:
    importlib.import_module("pillow_heif").register_heif_opener()
    for split in ("train", "test"):
        save(folder / split / "ant" / "c.heic", 200, quality=100)
    source = read(folder)
    assert source.said == ()
    assert source.train.labels_N.tolist() == [0, 0, 0, 1, 1]
    assert np.abs(source.train.pixels_NHWC[2, 8, 8].astype(int) - [200, 0, 0]).max() < 12
