"""A folder of Parquet files in the Hugging Face image layout: an image column and a label column.

Files: ``train*.parquet`` and ``test*.parquet`` (or ``validation*``, ``val*``), one or many shards, in the folder, in
its ``data/``, or in its ``train/`` and ``test/``. An image is a struct of bytes and path, or plain bytes.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trainer.data import location
from trainer.data.config import DataConfig
from trainer.data.decode import Item, Listing, decoded
from trainer.data.images import Source
from trainer.data.labels import Labels, numbered
from trainer.errors import ConfigError, DataError, nearest

_ROWS = 1024


def read(config: DataConfig) -> Source:
    """Labels are kept where they are 0..C-1, else numbered in sorted order; names come from the files' metadata."""
    folder = location.folder(config)
    train, test = _files(folder, ("train",)), _files(folder, ("test", "validation", "val"))
    values_C, train_N, test_N = numbered(_labels(train, config), _labels(test, config), str(test[0]))
    train_set, test_set = (
        decoded(_listing(name, files, labels_N, config), config, config.resize)
        for name, files, labels_N in (("train", train, train_N), ("test", test, test_N))
    )
    return Source(train_set, test_set, class_names=_names(train[0], values_C, config.label_column))


def _files(folder: Path, names: tuple[str, ...]) -> list[Path]:
    """The shards of a split, by the first of ``names`` that any are found for."""
    for name in names:
        for pattern in (f"{name}*.parquet", f"data/{name}*.parquet", f"{name}/*.parquet"):
            found = sorted(folder.glob(pattern))
            if found:
                return found
    raise DataError(f"data.path: {folder} has no {names[0]}*.parquet")


def _open(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file}: not a readable Parquet file ({error})") from error


def _labels(files: list[Path], config: DataConfig) -> NDArray[Any]:
    """The label column of all shards, as it is written."""
    parts = []
    for file in files:
        shard = _open(file)
        for field, column in (("data.label_column", config.label_column), ("data.image_column", config.image_column)):
            _require_column(shard, file, field, column)
        try:
            column = shard.read(columns=[config.label_column]).column(0)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{file}: not a readable Parquet file ({error})") from error
        if not (pa.types.is_integer(column.type) or _is_text(column.type)):
            raise ConfigError(
                f"{file}: column {config.label_column!r} holds {column.type}, not integers", field="data.label_column"
            )
        if column.null_count:
            row = int(np.flatnonzero(column.is_null().to_numpy())[0])
            raise DataError(f"{file}: row {row} has no label")
        parts.append(column.to_numpy())
    labels_N = np.concatenate(parts)
    if not len(labels_N):
        raise DataError(f"{files[0]}: no images")
    return labels_N.astype(str) if labels_N.dtype == object else labels_N.astype(np.int64)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _require_column(shard: pq.ParquetFile, file: Path, field: str, column: str) -> None:
    names = shard.schema_arrow.names
    if column not in names:
        raise ConfigError(
            f"{file} has no column {column!r}", field=field, allowed=", ".join(names), nearest=nearest(column, names)
        )
    kind = shard.schema_arrow.field(column).type
    if field == "data.image_column" and not _is_image(kind):
        raise ConfigError(f"{file}: column {column!r} holds {kind}, not images", field=field)


def _is_image(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _names(file: Path, values_C: NDArray[Any], label_column: str) -> tuple[str, ...]:
    """Class names of the ``huggingface`` metadata, or the labels themselves."""
    metadata = _open(file).schema_arrow.metadata or {}
    try:
        feature = json.loads(metadata[b"huggingface"])["info"]["features"][label_column]
        names = feature["names"]
        return tuple(str(names[value]) for value in values_C)
    except (KeyError, ValueError, TypeError, IndexError):
        return tuple(str(value) for value in values_C)


def _listing(name: str, files: list[Path], labels_N: Labels, config: DataConfig) -> Listing:
    content = hashlib.sha256(json.dumps([name, config.image_column, config.label_column]).encode())
    content.update(labels_N.tobytes())
    for file in files:
        with file.open("rb") as opened:
            content.update(file.name.encode() + hashlib.file_digest(opened, "sha256").digest())
    return Listing(
        name=f"{files[0].parent} ({name})",
        labels_N=labels_N,
        items=lambda: _items(files, config.image_column),
        content=content.hexdigest(),
    )


def _items(files: list[Path], column: str) -> Iterator[Item]:
    """The encoded images, a batch of rows in memory at a time."""
    for file in files:
        row = 0
        try:
            for batch in _open(file).iter_batches(_ROWS, columns=[column]):
                for value in batch.column(0).to_pylist():
                    yield f"{file} row {row}", _content(value)
                    row += 1
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{file}: cannot be read after row {row} ({error})") from error


def _content(value: Any) -> bytes | None:
    """The encoded image; a struct's path is of the machine that wrote it, and says nothing here."""
    return (value["bytes"] if isinstance(value, dict) else value) or None
