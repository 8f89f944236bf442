"""Which Parquet files a folder holds for each split: whole sets of shards, where Hugging Face and people put them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from trainer.data import location
from trainer.data.images import first_ten
from trainer.data.layout import SPLITS, is_system, split_of
from trainer.errors import DataError
from trainer.words import WARNING, format_count

_NUMBERED = re.compile(r"((?P<name>.*)-)?(?P<number>\d+)-of-(?P<count>\d+)$")
_PLAIN = re.compile(r"(?P<name>[A-Za-z]*)[-_.]?\d*$")
_SPLIT = re.compile(r"({})(?![A-Za-z])".format("|".join(name for names in SPLITS.values() for name in names)), re.I)


@dataclass(frozen=True)
class Shards:
    """The files of each split, in order."""

    splits: dict[str, list[Path]]
    unsplit: list[Path]
    """files whose names say no split, where no file's name does"""
    said: tuple[str, ...]
    """a line about the files that are there and are not read"""


@dataclass
class _Found:
    splits: dict[str, list[Path]] = field(default_factory=dict)
    unsplit: list[Path] = field(default_factory=list)
    left: list[Path] = field(default_factory=list)


def find(folder: Path) -> Shards:
    """Look in the folder, in its ``data/``, in a folder of each split, and in the one configuration that it has.

    Raises DataError where shards are missing or contradict each other, where there are several configurations, and
    where there are no Parquet files.
    """
    found = _in(folder)
    if not found.splits and not found.unsplit:
        configurations = [(entry, _in(entry)) for entry in sorted(folder.iterdir()) if _is_folder(entry)]
        configurations = [(entry, inner) for entry, inner in configurations if inner.splits or inner.unsplit]
        if len(configurations) > 1:
            names = first_ten(entry for entry, _ in configurations)
            raise DataError(f"data.path: {folder} holds several data sets: give the folder of one: {names}")
        if not configurations:
            raise DataError(f"data.path: {folder} has no train*.parquet{location.hint(folder)}")
        found = configurations[0][1]
    left = sorted(set(found.left) | (set(found.unsplit) if found.splits else set()))
    said: tuple[str, ...] = ()
    if left:
        names = first_ten(file.relative_to(folder) for file in left)
        files = format_count(len(left), "Parquet file")
        said = (f"{WARNING}{folder}: {files} passed over, not named like the shards of a split: {names}",)
    return Shards(found.splits, [] if found.splits else sorted(found.unsplit), said)


def _in(folder: Path) -> _Found:
    """Of one folder: files in it and in ``data/`` by their names, and the folders of splits in both."""
    found = _Found()
    places: dict[str, list[tuple[Path, list[Path]]]] = {split: [] for split in SPLITS}
    for home in (folder, folder / "data"):
        if not home.is_dir():
            continue
        by_name: dict[str, list[Path]] = {}
        for file in _files(home):
            match = _SPLIT.match(file.stem)
            split = split_of(match[1]) if match else None
            if split is None:
                found.unsplit.append(file)
            else:
                by_name.setdefault(split, []).append(file)
        for split, files in by_name.items():
            places[split].append((home, files))
        for entry in sorted(home.iterdir()):
            split = split_of(entry.name)
            if split is not None and _is_folder(entry) and (files := _files(entry)):
                places[split].append((entry, files))
    for split, candidates in places.items():
        if candidates:  # the first place with names of shards, else the first that has files
            home, files = next((one for one in candidates if any(map(_is_regular, one[1]))), candidates[0])
            found.splits[split] = _shards(files, home, split)
            found.left += [file for _, files in candidates for file in files if file not in found.splits[split]]
    return found


def _shards(files: list[Path], home: Path, split: str) -> list[Path]:
    """Those with numbers of so many, all of them; or those with plain names; or, without either, all files."""
    numbered = [(match, file) for file in files if (match := _NUMBERED.match(file.stem)) and _is_regular(file)]
    plain = [file for file in files if _is_plain(file.stem)]
    if not numbered:
        return plain or files
    if plain:
        raise DataError(f"{home}: {numbered[0][1].name} and {plain[0].name} are both the {split} split: keep one kind")
    counts = sorted({int(match["count"]) for match, _ in numbered})
    if len(counts) > 1:
        raise DataError(f"{home}: shards of two versions of the {split} split: of {counts[0]} and of {counts[1]}")
    numbers = sorted(int(match["number"]) for match, _ in numbered)
    first = 1 if counts[0] in numbers and 0 not in numbers else 0
    missing = sorted(set(range(first, first + counts[0])) - set(numbers))
    if missing:
        names = first_ten(_name(numbered[0][1], number) for number in missing)
        raise DataError(f"{home}: {len(missing)} of {counts[0]} shards of the {split} split are missing: {names}")
    if len(set(numbers)) < len(numbers):
        twice = next(number for number in numbers if numbers.count(number) > 1)
        raise DataError(f"{home}: shard {twice} of the {split} split is there twice")
    return [file for _, file in sorted(numbered, key=lambda one: int(one[0]["number"]))]


def _is_regular(file: Path) -> bool:
    match = _NUMBERED.match(file.stem)
    return _is_plain(match["name"] or "") if match else _is_plain(file.stem)


def _is_plain(stem: str) -> bool:
    """A split's name or nothing, with a number or without."""
    match = _PLAIN.match(stem)
    return match is not None and (not match["name"] or split_of(match["name"]) is not None)


def _name(like: Path, number: int) -> str:
    match = _NUMBERED.match(like.stem)
    assert match is not None
    return f"{match[1] or ''}{number:0{len(match['number'])}d}-of-{match['count']}{like.suffix}"


def _files(folder: Path) -> list[Path]:
    entries: Iterable[Path] = sorted(folder.iterdir())
    return [entry for entry in entries if entry.suffix == ".parquet" and entry.is_file() and not is_system(entry.name)]


def _is_folder(entry: Path) -> bool:
    return entry.is_dir() and not is_system(entry.name)
