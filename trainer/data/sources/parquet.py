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
from trainer.data.decode import Item, Listing, decoded_splits
from trainer.data.images import Labels, Source, known_labels
from trainer.errors import ConfigError, DataError, nearest

_ROWS = 1024


def read(config: DataConfig) -> Source:
    """Labels are kept where they are 0..C-1, else numbered in sorted order; names come from the files' metadata."""
    folder = location.folder(config)
    train, test = _shards(folder, ("train",)), _shards(folder, ("test", "validation", "val"))
    train_N, test_N = _labels(train, config), _labels(test, config)
    values_C = known_labels(train_N, test_N, str(test[0]))
    listings = [
        _listing(name, files, np.searchsorted(values_C, labels_N), config)
        for name, files, labels_N in (("train", train, train_N), ("test", test, test_N))
    ]
    train_set, test_set = decoded_splits(listings, config, config.resize)
    return Source(train_set, test_set, class_names=_names(train[0], values_C, config.label_column))


def _shards(folder: Path, names: tuple[str, ...]) -> list[Path]:
    """The files of a split, by the first of ``names`` that any are found for."""
    for name in names:
        for pattern in (f"{name}*.parquet", f"data/{name}*.parquet", f"{name}/*.parquet"):
            found = sorted(folder.glob(pattern))
            if found:
                return found
    raise DataError(f"data.path: {folder} has no {names[0]}*.parquet")


def _labels(files: list[Path], config: DataConfig) -> NDArray[Any]:
    """The label column of all shards, as it is written: int64 or text."""
    parts = []
    for file in files:
        try:
            shard = pq.ParquetFile(file)
            _check_columns(shard.schema_arrow, file, config)
            column = shard.read(columns=[config.label_column]).column(0)
            column = column.cast(_value_type(column.type))
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{file}: not a readable Parquet file ({error})") from error
        if column.null_count:
            row = int(np.flatnonzero(column.is_null().to_numpy())[0])
            raise DataError(f"{file}: row {row} has no label")
        parts.append(column.to_numpy())
    labels_N = np.concatenate(parts)
    if not len(labels_N):
        raise DataError(f"{files[0]}: no images")
    return labels_N.astype(str) if labels_N.dtype == object else labels_N.astype(np.int64)


def _check_columns(schema: pa.Schema, file: Path, config: DataConfig) -> None:
    """Raises ConfigError where a column is missing or holds something else."""
    for field, column in (("data.label_column", config.label_column), ("data.image_column", config.image_column)):
        if column not in schema.names:
            allowed, similar = ", ".join(schema.names), nearest(column, schema.names)
            raise ConfigError(f"{file} has no column {column!r}", field=field, allowed=allowed, nearest=similar)
    kind = schema.field(config.image_column).type
    has_bytes = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
    if not has_bytes and kind not in (pa.binary(), pa.large_binary(), pa.binary_view()):
        raise ConfigError(f"{file}: column {config.image_column!r} holds {kind}, not images", field="data.image_column")
    kind = schema.field(config.label_column).type
    if not pa.types.is_integer(_value_type(kind)) and _value_type(kind) != pa.large_string():
        raise ConfigError(
            f"{file}: column {config.label_column!r} holds {kind}, neither integers nor text", field="data.label_column"
        )


def _value_type(kind: pa.DataType) -> pa.DataType:
    """The type of a column's values: pandas and Polars write categories as dictionaries, and text as one of three."""
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.large_string() if value in (pa.string(), pa.string_view()) else value


def _names(file: Path, values_C: NDArray[Any], label_column: str) -> tuple[str, ...]:
    """Class names of the ``huggingface`` metadata, or the labels themselves."""
    metadata = pq.read_schema(file).metadata or {}
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"][label_column]["names"]
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
            for batch in pq.ParquetFile(file).iter_batches(_ROWS, columns=[column]):
                for value in batch.column(0).to_pylist():
                    # a struct's path is of the machine that wrote it, and says nothing here
                    encoded = value["bytes"] if isinstance(value, dict) else value
                    yield f"{file} row {row}", encoded or None
                    row += 1
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{file}: cannot be read after row {row} ({error})") from error
