"""A folder or file of images, without reading it all: its source, the images' size, and what is picked for them."""

import io
import os
import statistics
import tarfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, UnidentifiedImageError

from trainer.data.file_types import readable
from trainer.data.layout import is_system
from trainer.data.location import SOURCES
from trainer.errors import DataError

_SAMPLE = 64
"""images whose size is looked at"""


class Guess(NamedTuple):
    """What is known of images before they are read."""

    source: str
    short_side: int
    """of the images as they are, in pixels: the median of the first that can be opened, at most 64"""
    uniform: bool
    """whether all are squares of one size"""


def look(path: Path, source: str | None, image_column: str) -> Guess:
    """Find out what the images are. ``source``: None to find out too. Raises DataError where none can be opened."""
    found = source or source_of(path)
    sizes = _sizes(found, path, image_column)
    if not sizes:
        raise DataError(f"{path}: no images were found that can be opened")
    short_side = int(statistics.median(min(size) for size in sizes))
    return Guess(found, short_side, len(set(sizes)) == 1 and sizes[0][0] == sizes[0][1])


def source_of(path: Path) -> str:
    """The name of the source that reads a folder or a file: by the files in it, down to the folders of splits."""
    if path.is_file():
        return SOURCES.get(path.suffix.lower(), "image_folder")
    if (path / "train.txt").is_file():
        return "image_folder"
    near = [path, *(entry for entry in sorted(path.iterdir()) if entry.is_dir() and not is_system(entry.name))]
    suffixes = {entry.suffix.lower() for folder in near for entry in folder.iterdir() if not is_system(entry.name)}
    suffixes |= {file.suffix.lower() for file in islice(path.glob("*/*/*.parquet"), 1)}
    return next((source for suffix, source in SOURCES.items() if suffix in suffixes), "image_folder")


def picked_size(short_side: int, *, uniform: bool, gpu: bool) -> int:
    """The size in pixels that images are trained at if nobody says so."""
    if uniform and short_side <= (64 if gpu else 32):
        return max(short_side, 4)
    largest = 224 if gpu else 32
    return next((size for size in (224, 128, 64, 32) if size <= min(largest, short_side)), max(4, short_side))


def picked_resize(size: int, short_side: int, *, uniform: bool) -> int | None:
    """The short side that images are stored at, with some room around the crop; None: as they are."""
    return None if uniform and size == short_side else max(size, round(size * 256 / 224))


def picked_tasks(classes: int) -> int:
    """The number of tasks: 10 from 50 classes on, otherwise 5, of two classes or more each."""
    most = 10 if classes >= 50 else 5
    return next((tasks for tasks in range(most, 1, -1) if classes >= 2 * tasks), min(classes, 2))


def _sizes(source: str, path: Path, image_column: str) -> list[tuple[int, int]]:
    """Width and height of the first images that can be opened; none where there are none."""
    if source == "npz":
        return _array_sizes(path)
    found = []
    for content in islice(_contents(source, path, image_column), _SAMPLE):
        try:
            with Image.open(content) as image:
                found.append(image.size)
        except (OSError, UnidentifiedImageError, ValueError, SyntaxError):  # the source names it
            continue
    return found


def _contents(source: str, path: Path, image_column: str) -> Iterator[Path | io.BytesIO]:
    if source == "parquet":
        return _encoded(path, image_column)
    return _packed(path) if source == "webdataset" else _files(path)


def _files(path: Path) -> Iterator[Path | io.BytesIO]:
    kinds = readable()
    for where, folders, files in os.walk(path if path.is_dir() else path.parent, followlinks=True):
        folders[:] = sorted(name for name in folders if not is_system(name))
        # A few of each folder: one class may have other images than the next.
        images = [Path(where, name) for name in sorted(files) if Path(name).suffix.lower() in kinds]
        yield from images[:8]


def _encoded(path: Path, column: str) -> Iterator[Path | io.BytesIO]:
    for file in [path] if path.is_file() else sorted(path.rglob("*.parquet")):
        for batch in pq.ParquetFile(file).iter_batches(batch_size=8, columns=[column]):
            for value in batch.column(0).to_pylist():
                content = value.get("bytes") if isinstance(value, dict) else value
                if isinstance(content, bytes):
                    yield io.BytesIO(content)


def _packed(path: Path) -> Iterator[Path | io.BytesIO]:
    kinds = readable()
    for file in [path] if path.is_file() else sorted(path.rglob("*.tar")):
        with tarfile.open(file) as opened:
            for member in opened:
                content = opened.extractfile(member) if Path(member.name).suffix.lower() in kinds else None
                if content is not None:
                    yield io.BytesIO(content.read())


def _array_sizes(path: Path) -> list[tuple[int, int]]:
    files = [path] if path.is_file() else sorted(path.glob("*.npz"))
    for file in files[:1]:
        with np.load(file, allow_pickle=False) as opened:
            for key in opened.files:
                shape = opened[key].shape
                if len(shape) >= 3:
                    height, width = shape[2:4] if len(shape) == 4 and shape[1] in (1, 3, 4) else shape[1:3]
                    return [(int(width), int(height))]
    return []
