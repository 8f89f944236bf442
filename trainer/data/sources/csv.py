"""Tables that list image files: ``train.csv`` and ``test.csv``, a ``metadata.csv``, or one with a column of splits.

A row names an image file, relative to its table's folder, and its label. ``data.path`` is a table (``.csv``, ``.tsv``)
or a folder that holds ``train.csv`` and ``test.csv``, one table, or Hugging Face's ``metadata.csv`` in it or in
``train/`` and ``test/``.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from trainer.data import files, location
from trainer.data.config import DataConfig
from trainer.data.images import Source, numbered
from trainer.data.label_column import holds_labels, label_values
from trainer.data.layout import SPLITS, Layout, by_split, is_system, rows_by_split
from trainer.errors import ConfigError, DataError

_SUFFIXES = (".csv", ".tsv")
_IMAGE_COLUMNS = ("image", "file_name", "filename", "path", "filepath", "file", "image_path", "image_name")
_LABEL_COLUMNS = ("label", "class", "category", "target", "label_name", "class_name")
"""names that are tried where ``data.image_column`` and ``data.label_column`` have their defaults"""


def read(config: DataConfig) -> Source:
    """Labels are whole numbers, which keep their order, or names, in sorted order. Raises DataError and ConfigError."""
    path = location.found(config)
    images: dict[str, list[Path]] = {}
    parts: dict[str, list[NDArray[Any]]] = {}
    said: tuple[str, ...] = ()
    for split, file in _tables(path):
        rows, passed = _rows(_table(file, config), file, split, config)
        said = (*said, *passed)
        for name, (listed, labels_N) in rows.items():
            images.setdefault(name, []).extend(listed)
            parts.setdefault(name, []).append(labels_N)
    if "train" not in parts:
        raise DataError(f"data.path: no row of {path} is of the train split, only of {', '.join(parts) or 'none'}")
    labels = {split: np.concatenate(parts[split]) for split in SPLITS if split in parts}
    values_C, numbers = numbered(labels, lambda split: path)
    splits = {split: list(zip(images[split], own.tolist(), strict=True)) for split, own in numbers.items()}
    home = path.parent if path.is_file() else path
    return files.source(home, Layout(splits, [str(value) for value in values_C], said), config, config.resize)


def _tables(path: Path) -> list[tuple[str | None, Path]]:
    """The tables, each with the split that its place says. Raises DataError where there is none or no clear one."""
    if path.is_file():
        return [(None, path)]
    found = _files(path)
    if named := by_split([(file.stem, file) for file in found]):
        return list(named.items())
    homes = by_split([(entry.name, entry) for entry in path.iterdir() if entry.is_dir()])
    inner: list[tuple[str | None, Path]] = [
        (split, home / "metadata.csv") for split, home in homes.items() if (home / "metadata.csv").is_file()
    ]
    found = [file for file in found if file.stem == "metadata"] or found
    if len(found) == 1 and not inner:
        return [(None, found[0])]
    if inner and not found:
        return inner
    if found:
        names = ", ".join(file.name for file in found)
        raise DataError(f"data.path: {path} holds several tables ({names}): give one of them")
    raise DataError(f"data.path: {path} has no train.csv, and no other table{location.hint(path)}")


def _files(folder: Path) -> list[Path]:
    entries = sorted(folder.iterdir())
    return [file for file in entries if file.suffix.lower() in _SUFFIXES and not is_system(file.name)]


def _rows(
    table: pa.Table, file: Path, split: str | None, config: DataConfig
) -> tuple[dict[str, tuple[list[Path], NDArray[Any]]], tuple[str, ...]]:
    """The image files and labels of each split, and a line about rows that are passed over."""
    column = config.split_column
    if column is None and split is None and "split" in table.column_names:
        column = "split"
    every_n = np.arange(table.num_rows)
    rows: dict[str, NDArray[np.int64]] = {split or "train": every_n}
    said: tuple[str, ...] = ()
    if column is not None:
        _find(table, file, "data.split_column", column)
        rows, said = rows_by_split(table[column].cast(pa.string()).to_pylist(), f"{file}: column {column!r}")
    images = _find(table, file, "data.image_column", config.image_column, _IMAGE_COLUMNS)
    labels = _find(table, file, "data.label_column", config.label_column, _LABEL_COLUMNS)
    if not holds_labels(table[labels].type):
        raise ConfigError(f"{file}: column {labels!r} holds {table[labels].type}, no labels", field="data.label_column")
    names = table[images].cast(pa.string()).to_pylist()
    if unnamed := [row for row in every_n.tolist() if not names[row]]:
        raise DataError(f"{file}: row {unnamed[0]} names no image")
    found = {}
    for name, rows_n in rows.items():
        paths = [file.parent / names[row] for row in rows_n.tolist()]
        found[name] = (paths, label_values(table[labels], rows_n, str(file)))
    return found, said


def _find(table: pa.Table, file: Path, field: str, given: str, usual: tuple[str, ...] = ()) -> str:
    """The column of that name, or where the name is the default the first usual one. Raises ConfigError."""
    names = table.column_names
    candidates = usual if given in usual[:1] else (given,)  # the first usual name is the default
    found = next((name for name in candidates if name in names), None)
    if found is None:
        raise ConfigError.unknown(f"{file} has no column {given!r}", given, names, field=field)
    return found


def _table(file: Path, config: DataConfig) -> pa.Table:
    """Column types are found by Arrow, but names of files are text."""
    try:
        with file.open(encoding="utf-8-sig") as opened:
            head = opened.readline()
        delimiter = max(",;\t", key=head.count)
        text = {name: pa.string() for name in (config.image_column, *_IMAGE_COLUMNS)}
        options = pacsv.ConvertOptions(column_types=text)
        table = pacsv.read_csv(file, parse_options=pacsv.ParseOptions(delimiter=delimiter), convert_options=options)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: not a readable table ({error})") from error
    if not table.num_rows:
        raise DataError(f"{file}: no images")
    return table
