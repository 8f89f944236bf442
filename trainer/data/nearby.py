"""A ``data.path`` one folder too deep or too high: where the data set that is meant lies."""

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from trainer.data.file_types import readable
from trainer.data.images import first_ten
from trainer.data.layout import is_system, split_of
from trainer.words import NOTE, WARNING

_ENTRIES = 1000
"""of a folder that are looked at"""


def hint(path: Path) -> str:
    """Names the data set around or within ``path``, which is none, to end a message with; empty where there is none."""
    if path.is_file() or _has_images(path):
        around = next((outer for outer in Path(os.path.abspath(path)).parents[:2] if _is_set(outer)), None)
        if around is None:
            return ""
        if split_of(around.name) and _has_splits(around.parent):
            around = around.parent
        return f"; if it is one class of several, give the folder around them: {str(around)!r}"
    within = [str(inner) for inner in _folders(path) if _is_set(inner)]
    if len(within) > 1:
        return f"; did you mean one of its folders? {first_ten(within)}"
    return f"; did you mean {within[0]!r}?" if within else ""


def odd(folder: Path, classes: Sequence[str]) -> Iterator[str]:
    """A line where ``folder``, read as class folders, seems to be one split of a data set, or to hold several sets.

    ``classes``: the folders in it that have images.
    """
    path = Path(os.path.abspath(folder))
    if split_of(path.name) and _has_splits(path.parent):
        others = [other.name for other in _folders(path.parent) if split_of(other.name) and other != path]
        if others:
            yield f"{WARNING}{folder} is one split of {path.parent}, whose {' and '.join(others)} is not read"
    inner = [folder / name for name in classes]
    if all(_is_set(one) and not _has_images(one) for one in inner):
        yield (
            f"{NOTE}{folder}: each class folder holds folders of images; if those are the classes, "
            f"give one of {first_ten(inner)}"
        )


def _is_set(folder: Path) -> bool:
    """Whether a folder has class folders, or training images in a folder of their own."""
    return _has_splits(folder) or len(list(islice(filter(_has_images, _folders(folder)), 2))) == 2


def _has_splits(folder: Path) -> bool:
    return any(split_of(inner.name) == "train" for inner in _folders(folder))


def _has_images(folder: Path) -> bool:
    kinds = readable()
    return any(entry.suffix.lower() in kinds for entry in _entries(folder) if not is_system(entry.name))


def _folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in _entries(folder) if entry.is_dir() and not is_system(entry.name))


def _entries(folder: Path) -> Iterator[Path]:
    try:
        yield from islice(folder.iterdir(), _ENTRIES)
    except OSError:  # of another user
        return
