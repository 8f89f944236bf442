"""Parquet files in the Hugging Face image layout: an image column and a label column.

``data.path`` is a folder of shards by split (``train*.parquet``, ``test*.parquet``, ``validation*.parquet``; in the
folder, in its ``data/``, in a folder of each split, or in that of one configuration), or one file, or files whose rows
say their split in a column. An image is a struct of bytes and path, or plain bytes.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trainer.data import location, shards
from trainer.data.config import DataConfig
from trainer.data.decode import Item, Listing, decoded_source
from trainer.data.files import digest
from trainer.data.images import Labels, Source, numbered
from trainer.data.label_column import holds_labels, label_values
from trainer.data.layout import SPLITS, rows_by_split
from trainer.errors import ConfigError, DataError

_ROWS = 128
_BUFFER = 1 << 20
"""bytes: without it a whole row group, up to gigabytes of images, is in memory at once"""
_SPLIT_COLUMN = "split"
"""the column of splits where none is given and no file's name says a split"""


@dataclass(frozen=True)
class _Rows:
    """The rows of a split in one file."""

    file: Path
    rows_n: NDArray[np.int64] | None
    """None: all"""


def read(config: DataConfig) -> Source:
    """Labels are kept where they are 0..C-1, else numbered in sorted order; names come from the files' metadata."""
    path = location.found(config)
    found = shards.Shards({}, [path], ()) if path.is_file() else shards.find(path)
    splits, said = _splits(found, config)
    labels = {split: _labels(splits[split], config) for split in SPLITS if split in splits}
    values_C, numbers = numbered(labels, lambda split: splits[split][0].file)
    digests = {part.file: digest(part.file) for parts in splits.values() for part in parts}
    listings = {split: _listing(split, splits[split], labels_N, config, digests) for split, labels_N in numbers.items()}
    names = _names(splits["train"][0].file, values_C, config.label_column)
    return decoded_source(listings, names, config, config.resize, said)


def _splits(found: shards.Shards, config: DataConfig) -> tuple[dict[str, list[_Rows]], tuple[str, ...]]:
    """By the names of files, or by the column that says it."""
    files = found.unsplit or [file for files in found.splits.values() for file in files]
    column = config.split_column
    if column is None and found.unsplit and all(_SPLIT_COLUMN in _schema(file).names for file in files):
        column = _SPLIT_COLUMN
    if column is None:
        named = found.splits or {"train": files}
        if "train" not in named:
            raise DataError(f"data.path: {files[0].parent} has no train*.parquet, only {', '.join(sorted(named))}")
        return {split: [_Rows(file, None) for file in files] for split, files in named.items()}, found.said
    splits: dict[str, list[_Rows]] = {}
    said = found.said
    for file in files:
        _check_column(_schema(file), file, "data.split_column", column)
        values = _read(file, column).cast(pa.string()).to_pylist()
        rows, passed = rows_by_split(values, f"{file}: column {column!r}")
        for split, rows_n in rows.items():
            splits.setdefault(split, []).append(_Rows(file, rows_n))
        said = (*said, *passed)
    if "train" not in splits:
        raise DataError(f"{files[0]}: no row is of the train split in column {column!r}, only {', '.join(splits)}")
    return splits, said


def _schema(file: Path) -> pa.Schema:
    try:
        return pq.read_schema(file)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file}: not a readable Parquet file ({error})") from error


def _read(file: Path, column: str) -> pa.ChunkedArray:
    try:
        return pq.ParquetFile(file).read(columns=[column]).column(0)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file}: not a readable Parquet file ({error})") from error


def _labels(parts: list[_Rows], config: DataConfig) -> NDArray[Any]:
    """The label column of all shards, as it is written: int64 or text."""
    found = []
    for part in parts:
        _check_columns(_schema(part.file), part.file, config)
        found.append(label_values(_read(part.file, config.label_column), part.rows_n, str(part.file)))
    labels_N = np.concatenate(found)
    if not len(labels_N):
        raise DataError(f"{parts[0].file}: no images")
    return labels_N


def _check_column(schema: pa.Schema, file: Path, field: str, column: str) -> None:
    if column not in schema.names:
        raise ConfigError.unknown(f"{file} has no column {column!r}", column, schema.names, field=field)


def _check_columns(schema: pa.Schema, file: Path, config: DataConfig) -> None:
    """Raises ConfigError where a column is missing or holds something else."""
    for field, column in (("data.label_column", config.label_column), ("data.image_column", config.image_column)):
        _check_column(schema, file, field, column)
    kind = schema.field(config.image_column).type
    has_bytes = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
    if not has_bytes and kind not in (pa.binary(), pa.large_binary(), pa.binary_view()):
        raise ConfigError(f"{file}: column {config.image_column!r} holds {kind}, not images", field="data.image_column")
    kind = schema.field(config.label_column).type
    if not holds_labels(kind):
        raise ConfigError(
            f"{file}: column {config.label_column!r} holds {kind}, neither integers nor text", field="data.label_column"
        )


def _names(file: Path, values_C: NDArray[Any], label_column: str) -> tuple[str, ...]:
    """Class names of the ``huggingface`` metadata, or the labels themselves."""
    metadata = _schema(file).metadata or {}
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"][label_column]["names"]
        named = [str(name) for name in names]
    except (KeyError, ValueError, TypeError):
        return tuple(str(value) for value in values_C)
    if values_C.dtype != np.int64:
        return tuple(str(value) for value in values_C)
    if values_C[-1] >= len(named):
        raise DataError(f"{file}: label {values_C[-1]}, but the file's metadata name {len(named)} classes")
    return tuple(named[value] for value in values_C)


def _listing(split: str, parts: list[_Rows], labels_N: Labels, config: DataConfig, digests: dict[Path, str]) -> Listing:
    content = hashlib.sha256(json.dumps([split, config.image_column, config.label_column]).encode())
    content.update(labels_N.tobytes())
    for part in parts:
        content.update((part.file.name + digests[part.file]).encode())
        if part.rows_n is not None:
            content.update(part.rows_n.tobytes())
    first = parts[0].file
    return Listing(
        name=f"{first.parent if len(parts) > 1 or parts[0].rows_n is None else first} ({split})",
        labels_N=labels_N,
        items=lambda: _items(parts, config.image_column),
        content=content.hexdigest(),
    )


def _place(file: Path, row: int, value: Any, encoded: bytes | None) -> str:
    """The name of an image; with its path where that is all there is: it is of the machine that wrote the file."""
    only = value.get("path") if isinstance(value, dict) and not encoded else None
    return f"{file} row {row}" + (f" (no bytes, only the path {only!r})" if only else "")


def _items(parts: list[_Rows], column: str) -> Iterator[Item]:
    """The encoded images, a batch of rows in memory at a time."""
    for part in parts:
        wanted = None if part.rows_n is None else set(part.rows_n.tolist())
        row = 0
        try:
            for batch in pq.ParquetFile(part.file, buffer_size=_BUFFER, pre_buffer=False).iter_batches(
                _ROWS, columns=[column]
            ):
                for value in batch.column(0).to_pylist():
                    if wanted is None or row in wanted:
                        encoded = value["bytes"] if isinstance(value, dict) else value
                        yield _place(part.file, row, value, encoded), encoded or None
                    row += 1
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{part.file}: cannot be read after row {row} ({error})") from error
