"""Images that are single files: in class folders, or named by list files of ``path label`` lines."""

import hashlib
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from trainer.data import class_folders, list_files, location
from trainer.data.class_folders import Choice
from trainer.data.config import DataConfig
from trainer.data.decode import Listing, cores, decoded_source
from trainer.data.images import Source, first_ten
from trainer.data.layout import Files, Layout
from trainer.errors import DataError
from trainer.words import WARNING, format_count


def read_folder(config: DataConfig, resize: int | None, choose: Choice) -> Source:
    """``train.txt`` and ``test.txt`` of ``data.path`` if it has them, else its class folders. Raises DataError."""
    folder = location.folder(config)
    return source(folder, list_files.find(folder) or class_folders.find(folder, choose), config, resize)


def source(folder: Path, layout: Layout, config: DataConfig, resize: int | None) -> Source:
    """Decode all splits. Files are named by their path relative to ``folder``.

    Raises DataError for a file with two labels; one that is in two splits is said.
    """
    said = (*layout.said, *_shared(folder, layout))
    listings = {split: _listing(f"{folder} ({split})", folder, files) for split, files in layout.splits.items()}
    return decoded_source(listings, layout.class_names, config, resize, said)


def _shared(folder: Path, layout: Layout) -> tuple[str, ...]:
    """A line for the files that several splits list. Raises DataError for those that are listed with several labels."""
    seen: dict[Path, tuple[str, int]] = {}
    labels: list[Path] = []
    splits: Counter[tuple[str, str]] = Counter()
    for split, files in layout.splits.items():
        for path, label in files:
            first, known = seen.setdefault(path, (split, label))
            if known != label:
                labels.append(path)
            elif first != split:
                splits[first, split] += 1
    if labels:
        raise DataError(f"{folder}: {len(labels)} images are listed with two labels: {first_ten(labels)}")
    return tuple(
        f"{WARNING}{folder}: {format_count(count, 'image')} of the {split} split also listed in the {first} split"
        for (first, split), count in splits.items()
    )


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
        return digest(path)
    except OSError as error:  # decoding names the file
        return type(error).__name__


def digest(path: Path) -> str:
    """sha256 of a file's content. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
