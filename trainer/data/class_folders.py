"""Images in class folders: ``train/CLASS/*`` and ``test/CLASS/*``, or ``CLASS/*`` alone."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from trainer.data import location, nearby
from trainer.data.file_types import readable
from trainer.data.images import first_ten
from trainer.data.layout import Layout, PassedOver, by_split, is_system
from trainer.errors import DataError, did_you_mean
from trainer.words import NOTE

Choice = Callable[[list[str], Path], list[str]]
"""from the names of all class folders, sorted, and where they lie, those to use in the order of their labels"""
_Classes = dict[str, list[Path]]
"""the image files of each class folder of a split, in the order of their paths"""


def find(folder: Path, choose: Choice) -> Layout:
    """The class folders of each split; ``classes.txt`` chooses and orders them.

    A class folder that is empty in all splits is passed over. Raises DataError for what contradicts itself.
    """
    homes = _homes(folder) or {"train": folder}
    if "train" not in homes:
        raise DataError(f"data.path: {folder} has no folder train/, only {', '.join(sorted(homes))}")
    passed = PassedOver()
    found = {split: _classes(home, passed) for split, home in homes.items()}
    if homes["train"] == folder and sum(map(bool, found["train"].values())) < 2:
        hint = location.hint(folder, folders=False) or nearby.hint(folder)
        raise DataError(
            f"data.path: {folder} has neither train.txt nor the folders train/ and test/, nor two class folders{hint}"
        )
    if not found["train"]:
        raise DataError(f"{homes['train']}: no class folders")
    names = _names(folder / "classes.txt", homes["train"], found["train"], choose)
    _check(homes, found, names, chosen=(folder / "classes.txt").is_file())
    splits = {
        split: [(path, label) for label, name in enumerate(names) for path in classes.get(name, ())]
        for split, classes in found.items()
    }
    empty = sorted({name for classes in found.values() for name, paths in classes.items() if not paths} - set(names))
    if len(names) < 2:
        more = f"; class folders without images: {first_ten(empty)}" if empty else ""
        raise DataError(f"{homes['train']}: images of one class alone, {first_ten(names) or 'none'}{more}")
    said = passed.said(folder)
    if empty:
        said = (*said, f"{NOTE}{folder}: class folders without images passed over: {first_ten(empty)}")
    left = sorted(name for name, paths in found["train"].items() if paths and name not in names)
    if left and (folder / "classes.txt").is_file():
        said = (*said, f"{NOTE}{folder}: class folders that classes.txt leaves out: {first_ten(left)}")
    if homes["train"] == folder:
        said = (*said, *nearby.odd(folder, names))
    return Layout(splits, names, said)


def lines_of(file: Path) -> list[tuple[str, int]]:
    """Lines that are not blank, with their numbers. Raises DataError."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read ({error})") from error
    lines = enumerate(text.replace("\t", " ").splitlines(), 1)
    return [(line.strip(), number) for number, line in lines if line.strip()]


def _homes(folder: Path) -> dict[str, Path]:
    return by_split([(entry.name, entry) for entry in folder.iterdir() if entry.is_dir()])


def _names(chosen: Path, home: Path, train: _Classes, choose: Choice) -> list[str]:
    if not chosen.is_file():
        return choose([name for name, paths in train.items() if paths], home)
    names = [line for line, _ in lines_of(chosen)]
    missing = [name for name in names if name not in train]
    if missing:
        raise DataError(f"{chosen}: {home} has no folder {first_ten(missing)}")
    return names


def _check(homes: dict[str, Path], found: dict[str, _Classes], names: list[str], chosen: bool) -> None:
    """Raises DataError where a class lacks training images, or a chosen class images of any kind."""
    train = found["train"]
    for split, classes in found.items():
        strangers = [name for name, paths in classes.items() if paths and not train.get(name)]
        if strangers and not chosen:
            raise DataError(
                f"{homes[split]}: classes without training images in {homes['train']}: {first_ten(strangers)}; remove "
                f"them, or name the classes to use in classes.txt{did_you_mean(strangers[0], train)}"
            )
        empty = [name for name in names if not classes.get(name)]
        if empty and split != "validation":
            kind = (
                f"class {empty[0]} has no images" if len(empty) == 1 else f"classes without images: {first_ten(empty)}"
            )
            raise DataError(f"{homes[split] / empty[0] if len(empty) == 1 else homes[split]}: {kind}")


def _classes(home: Path, passed: PassedOver) -> _Classes:
    """The folders in ``home``, sorted, with their images and those of the folders in them."""
    kinds = readable()
    found: _Classes = {}
    for entry in sorted(home.iterdir()):
        if entry.is_dir() and not is_system(entry.name):
            paths = sorted(_files(entry, passed))
            found[entry.name] = [path for path in paths if path.suffix.lower() in kinds]
            for path in paths:
                if path.suffix.lower() not in kinds:
                    passed.file(path)
        elif entry.is_dir():
            for _ in _files(entry, passed):
                passed.file(entry)
        elif entry.suffix.lower() in kinds and not is_system(entry.name):
            passed.images[f"{entry.suffix.lower()} in {home.name}/ itself, in no class folder"] += 1
        elif entry.name != "classes.txt":
            passed.file(entry)
    return found


def _files(folder: Path, passed: PassedOver) -> Iterator[Path]:
    """Files below a folder, but for hidden ones and those of the operating system, which are counted."""
    for where, folders, files in os.walk(folder, followlinks=True):
        for name in [name for name in folders if is_system(name)]:
            folders.remove(name)
            for _, _, hidden in os.walk(Path(where, name)):
                passed.reasons["hidden or of the operating system"] += len(hidden)
        for name in files:
            if is_system(name):
                passed.file(Path(name))
            else:
                yield Path(where, name)
