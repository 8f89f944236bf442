"""Images that list files name: ``train.txt`` and ``test.txt`` of ``path label`` lines."""

from pathlib import Path

from trainer.data.class_folders import lines_of
from trainer.data.images import numbered
from trainer.data.layout import Files, Layout, by_split
from trainer.errors import DataError


def find(folder: Path) -> Layout | None:
    """Classes are named by the folder that their images lie in, or by their label where classes share folders.

    None where there is no ``train.txt``. Raises DataError for lines that are no path and label.
    """
    lists = by_split([(file.stem, file) for file in folder.glob("*.txt")])
    if "train" not in lists:
        return None
    splits = {split: _read(file) for split, file in lists.items()}
    labels_of = {split: [label for _, label in files] for split, files in splits.items()}
    values_C, numbers = numbered(labels_of, lists.__getitem__)
    labels = values_C.tolist()
    first = {label: path.parent.name for path, label in reversed(splits["train"])}
    names = [first[label] for label in labels]
    if len(set(names)) < len(names):
        names = [str(label) for label in labels]
    paths = {split: [path for path, _ in files] for split, files in splits.items()}
    return Layout({split: list(zip(paths[split], own.tolist(), strict=True)) for split, own in numbers.items()}, names)


def _read(file: Path) -> Files:
    """Lines of ``path label``; a relative path starts at the list's folder."""
    found = []
    for line, number in lines_of(file):
        path, _, label = line.rpartition(" ")
        if not path.strip() or not label.isdecimal():
            raise DataError(f"{file} line {number}: {line!r} is not a path and a label")
        found.append((file.parent / path.strip(), int(label)))
    if not found:
        raise DataError(f"{file}: no images")
    return found
