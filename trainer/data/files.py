"""Images that are single files: in class folders, or named by list files of ``path label`` lines."""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from trainer.data import location
from trainer.data.config import DataConfig
from trainer.data.decode import Listing, cores, decoded_splits
from trainer.data.images import Source, known_labels
from trainer.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
"""suffixes of image files in class folders; other files are ignored"""
_TEST_NAMES = ("test", "val", "validation")

Files = list[tuple[Path, int]]
"""the image files of one split and their labels"""
Choice = Callable[[list[str], Path], list[str]]
"""from the names of all class folders, sorted, and where they lie, those to use in the order of their labels"""


def read_folder(config: DataConfig, resize: int | None, choose: Choice) -> Source:
    """``train.txt`` and ``test.txt`` of ``data.path`` if it has them, else its class folders. Raises DataError."""
    folder = location.folder(config)
    if (folder / "train.txt").is_file():
        train, test, names = _from_lists(folder)
    else:
        train, test, names = _from_class_folders(folder, choose)
    return source(folder, train, test, names, config, resize)


def source(
    folder: Path, train: Files, test: Files, names: Sequence[str], config: DataConfig, resize: int | None
) -> Source:
    """Decode both splits. Files are named by their path relative to ``folder``."""
    listings = [_listing(f"{folder} ({split})", folder, files) for split, files in (("train", train), ("test", test))]
    train_set, test_set = decoded_splits(listings, config, resize)
    return Source(train_set, test_set, tuple(names))


def _from_class_folders(folder: Path, choose: Choice) -> tuple[Files, Files, list[str]]:
    train = folder / "train"
    test = next((folder / name for name in _TEST_NAMES if (folder / name).is_dir()), None)
    if not train.is_dir() or test is None:
        raise DataError(f"data.path: {folder} has neither train.txt nor the folders train/ and test/")
    listed = folder / "classes.txt"
    if listed.is_file():
        names = [line for line, _ in _lines(listed)]
        missing = [name for name in names if not (train / name).is_dir()]
        if missing:
            raise DataError(f"{listed}: {train} has no folder {missing[0]}")
    else:
        found = sorted(entry.name for entry in train.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        if not found:
            raise DataError(f"{train}: no class folders")
        names = choose(found, train)
    return _of_classes(train, names), _of_classes(test, names), names


def _of_classes(split: Path, names: Sequence[str]) -> Files:
    """The images of each class in the order of their paths, from its folder and the folders in it."""
    found: Files = []
    for label, name in enumerate(names):
        paths = sorted(
            Path(where, file)
            for where, _, files in os.walk(split / name, followlinks=True)
            for file in files
            if not file.startswith(".") and Path(file).suffix.lower() in SUFFIXES
        )
        if not paths:
            raise DataError(f"{split / name}: class {name} has no images")
        found += [(path, label) for path in paths]
    return found


def _from_lists(folder: Path) -> tuple[Files, Files, list[str]]:
    """Classes are named by the folder that their images lie in, or by their label where classes share folders."""
    test_list = next((file for name in _TEST_NAMES if (file := folder / f"{name}.txt").is_file()), None)
    if test_list is None:
        raise DataError(f"data.path: {folder} has train.txt but no test.txt")
    train, test = _read_list(folder / "train.txt"), _read_list(test_list)
    labels = known_labels([label for _, label in train], [label for _, label in test], str(test_list)).tolist()
    first = {label: path.parent.name for path, label in reversed(train)}
    names = [first[label] for label in labels]
    if len(set(names)) < len(names):
        names = [str(label) for label in labels]
    number = {label: position for position, label in enumerate(labels)}
    train, test = ([(path, number[label]) for path, label in files] for files in (train, test))
    return train, test, names


def _read_list(file: Path) -> Files:
    """Lines of ``path label``; a relative path starts at the list's folder."""
    found = []
    for line, number in _lines(file):
        path, _, label = line.rpartition(" ")
        if not path.strip() or not label.isdecimal():
            raise DataError(f"{file} line {number}: {line!r} is not a path and a label")
        found.append((file.parent / path.strip(), int(label)))
    if not found:
        raise DataError(f"{file}: no images")
    return found


def _lines(file: Path) -> list[tuple[str, int]]:
    """Lines that are not blank, with their numbers."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read ({error})") from error
    lines = enumerate(text.replace("\t", " ").splitlines(), 1)
    return [(line.strip(), number) for number, line in lines if line.strip()]


def _listing(name: str, folder: Path, files: Files) -> Listing:
    with ThreadPoolExecutor(cores()) as pool:
        hashes = list(pool.map(_hash, (path for path, _ in files)))
    content = hashlib.sha256()
    for (path, label), found in zip(files, hashes, strict=True):
        content.update(f"{os.path.relpath(path, folder)}\0{label}\0{found}\n".encode())
    return Listing(
        name=name,
        labels_N=np.array([label for _, label in files], dtype=np.int64),
        items=lambda: ((str(path), path) for path, _ in files),
        content=content.hexdigest(),
    )


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:  # decoding names the file
        return type(error).__name__
