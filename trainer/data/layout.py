"""What a data set of image files holds: its splits, the names of its classes, and what was passed over."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.data.file_types import missing_reader
from trainer.errors import DataError
from trainer.words import NOTE, WARNING, format_count

SPLITS = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "validation": ("validation", "valid", "val", "dev"),
}
"""the names that folders, files and columns have for each split, in small letters; capitals are as good"""

_SHOWN = 10

Files = list[tuple[Path, int]]
"""image files and their labels"""


@dataclass(frozen=True)
class Layout:
    """The image files of each split, and the names of the classes."""

    splits: dict[str, Files]
    class_names: Sequence[str]
    said: tuple[str, ...] = ()
    """a line about what is there and is not read"""


def split_of(name: str) -> str | None:
    """The split that a name stands for."""
    return next((split for split, names in SPLITS.items() if name.strip().lower() in names), None)


def rows_by_split(values: Sequence[str | None], where: str) -> tuple[dict[str, NDArray[np.int64]], tuple[str, ...]]:
    """The rows of each split, rising, by what a column says; and a line about rows of no split that is known.

    Raises DataError, beginning with ``where``, for a row that says nothing.
    """
    splits = [split_of(value or "") for value in values]
    others = Counter(value for value, split in zip(values, splits, strict=True) if split is None)
    if None in others or "" in others:
        row = next(row for row, value in enumerate(values) if not value)
        raise DataError(f"{where}: row {row} says no split")
    rows = {
        split: np.flatnonzero(np.array([one == split for one in splits])) for split in SPLITS if split in set(splits)
    }
    counts = ", ".join(f"{count} of {value!r}" for value, count in others.most_common(_SHOWN))
    known = ", ".join(SPLITS)
    line = f"{WARNING}{where}: {format_count(others.total(), 'row')} of no known split ({known}) passed over: {counts}"
    return rows, (line,) if others else ()


def by_split(named: Sequence[tuple[str, Path]]) -> dict[str, Path]:
    """The paths whose names stand for a split, training images first. Raises DataError where two stand for one."""
    found: dict[str, Path] = {}
    for name, path in sorted(named):
        split = split_of(name)
        if split is None:
            continue
        if split in found:
            raise DataError(f"{path.parent}: both {found[split].name} and {path.name} hold the {split} split: keep one")
        found[split] = path
    return {split: found[split] for split in SPLITS if split in found}


@dataclass
class PassedOver:
    """Counts what is not read, by reason."""

    reasons: Counter[str] = field(default_factory=Counter)
    """files that are no images"""
    images: Counter[str] = field(default_factory=Counter)

    def file(self, path: Path) -> None:
        """A file of a type that is not read, or of the operating system."""
        suffix = path.suffix.lower()
        if is_system(path.name):
            self.reasons["hidden or of the operating system"] += 1
        elif reader := missing_reader(suffix):
            self.images[f"{suffix} ({reader})"] += 1
        else:
            self.reasons[f"{suffix or 'without suffix'} (no image type that is read here)"] += 1

    def said(self, where: object) -> tuple[str, ...]:
        """One line with the counts of images that are lost, and one with those of other files."""
        return tuple(
            f"{kind}{where}: {format_count(count, what)} passed over: "
            + ", ".join(f"{number} {reason}" for reason, number in reasons.most_common())
            for kind, what, reasons in ((WARNING, "image", self.images), (NOTE, "file", self.reasons))
            if (count := reasons.total())
        )


def is_system(name: str) -> bool:
    """Whether a file or folder is no part of a data set: hidden, or left by macOS or Windows."""
    return name.startswith(".") or name in {"__MACOSX", "Thumbs.db", "desktop.ini"}
