"""The rows of parts, decoded when they are asked for, and only the columns that are asked for."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from sweeper.store.parts import NOTHING, Merged, Part

_TOGETHER = 512
"""parts whose streams are decoded as one; of thousands the bytes would leave the processor's cache"""

_END = 8
"""bytes that end a stream"""


class Live(NamedTuple):
    """A part whose rows count, but for those that were written again since it merged them."""

    name: str
    part: Part
    kept: Mapping[str, Merged] = NOTHING
    """of a merged part: the parts that it alone still stands for"""

    @property
    def whole(self) -> bool:
        """Whether all rows count."""
        return len(self.kept) == len(self.part.merged)


class Rows(ds.InMemoryDataset):
    """The rows of parts as a pyarrow dataset; columns that a part lacks are null.

    To pyarrow an empty one: all that reads it, DuckDB too, goes through ``scanner``, which is told the columns that
    are wanted.
    """

    def __init__(self, live: Iterable[Live], columns: pa.Schema, counted: ds.Expression | None = None) -> None:
        """``columns``: of the table. ``counted`` selects the rows that there are (default: all)."""
        super().__init__(columns.empty_table())
        self._live, self._columns, self._counted = tuple(live), columns, counted

    def filter(self, expression: ds.Expression) -> Rows:
        """The rows that the expression selects."""
        both = expression if self._counted is None else self._counted & expression
        return Rows(self._live, self._columns, both)

    def scanner(self, columns: Any = None, filter: ds.Expression | None = None, **options: Any) -> ds.Scanner:
        """As that of a dataset: ``columns`` are names or expressions by name (default: all columns)."""
        if self._counted is not None:
            filter = self._counted if filter is None else self._counted & filter
        wanted = self._columns
        if columns is not None:
            asked = columns.values() if isinstance(columns, Mapping) else columns
            words = set(re.findall(r"\w+", " ".join(map(str, [*asked, filter]))))
            wanted = pa.schema([field for field in wanted if field.name in words] or [wanted.field(0)])
        return _decoded(self._live, wanted).scanner(columns=columns, filter=filter, **options)


def read_parts(parts: Sequence[Part], columns: pa.Schema) -> list[pa.Table]:
    """All rows of each part, in their order."""
    found: dict[int, pa.Table] = {}
    streamed = [i for i, part in enumerate(parts) if part.agreed is not None]
    for table, lengths, own in _from_streams([(i, parts[i]) for i in streamed], columns):
        found |= dict(zip(own, _split(table, lengths), strict=True))
    files = [i for i, part in enumerate(parts) if part.agreed is None]
    if files:
        table = _files([parts[i] for i in files], columns).to_table(columns=[*columns.names, "__fragment_index"])
        counts = {count["values"]: count["counts"] for count in table["__fragment_index"].value_counts().to_pylist()}
        lengths = [counts.get(i, 0) for i in range(len(files))]
        found |= dict(zip(files, _split(table.drop_columns("__fragment_index"), lengths), strict=True))
    return [found[i] for i in range(len(parts))]


def schemas(parts: Sequence[Part]) -> list[pa.Schema]:
    """The schemas that occur in parts, as their writers had them."""
    heads = {_head(stream): None for part in parts if part.agreed is not None for stream in _streams(part)}
    files = [pq.read_schema(pa.BufferReader(part.content)) for part in parts if part.agreed is None]
    return [*(pa.ipc.read_schema(pa.py_buffer(head)) for head in heads), *files]


def _split(table: pa.Table, lengths: Sequence[int]) -> list[pa.Table]:
    table = table.combine_chunks()  # a slice of many chunks looks at each
    ends = itertools.accumulate(lengths)
    return [table.slice(end - length, length) for end, length in zip(ends, lengths, strict=True)]


def _decoded(live: Sequence[Live], columns: pa.Schema) -> ds.Dataset:
    streamed, files, rows = [], [], []
    for one in live:
        if one.part.agreed is not None:
            streamed.append(one.part)
        elif one.whole:
            files.append(one.part)
        else:
            (table,) = read_parts([one.part], columns)
            rows += [table.slice(merged.offset, merged.rows) for merged in one.kept.values()]
    rows += [table.combine_chunks() for table, _, _ in _from_streams(list(enumerate(streamed)), columns)]
    whole = _files(files, columns)
    return ds.UnionDataset(columns, [whole, ds.dataset(pa.concat_tables(rows))]) if rows else whole


def _from_streams(
    parts: Sequence[tuple[int, Part]], columns: pa.Schema
) -> Iterator[tuple[pa.Table, list[int], list[int]]]:
    """The rows of numbered parts that have streams: tables of parts of like columns, their lengths and numbers."""
    for first in range(0, len(parts), _TOGETHER):
        yield from _by_columns(parts[first : first + _TOGETHER], columns)


def _by_columns(
    parts: Sequence[tuple[int, Part]], columns: pa.Schema
) -> Iterator[tuple[pa.Table, list[int], list[int]]]:
    like: dict[tuple[bytes, bytes], list[tuple[int, memoryview, memoryview]]] = {}
    for number, part in parts:
        alike, others = _streams(part)
        like.setdefault((_head(alike), _head(others)), []).append((number, alike, others))
    for heads, members in like.items():
        numbers, alikes, rest = zip(*members, strict=True)
        rows = _read(heads[1], rest, columns)
        lengths = [len(chunk) for chunk in rows.column(0).iterchunks()]
        once = _read(heads[0], alikes, columns).combine_chunks()
        repeated = once.take(pa.array(np.repeat(np.arange(len(members)), lengths)))
        yield _conform([repeated, rows], columns), lengths, list(numbers)


def _streams(part: Part) -> tuple[memoryview, memoryview]:
    content = memoryview(part.content)
    return content[: part.agreed], content[part.agreed :]


def _read(head: bytes, streams: Sequence[memoryview], columns: pa.Schema) -> pa.Table:
    """Streams that begin with ``head``, a chunk each, of the columns that are asked for, or any one."""
    names = pa.ipc.read_schema(pa.py_buffer(head)).names
    included = [i for i, name in enumerate(names) if name in columns.names]
    options = pa.ipc.IpcReadOptions(included_fields=included or [0][: len(names)], use_threads=False)
    joined = b"".join([head, *(stream[len(head) : -_END] for stream in streams)])
    return pa.ipc.open_stream(pa.py_buffer(joined), options=options).read_all()


def _head(stream: memoryview) -> bytes:
    """The message that states the schema: a marker, the length of what follows, and that."""
    return bytes(stream[: 8 + int.from_bytes(stream[4:8], "little")])


def _conform(tables: Sequence[pa.Table], columns: pa.Schema) -> pa.Table:
    """Tables of as many rows, side by side."""
    given = {name: table[name] for table in tables for name in table.column_names}
    count = tables[-1].num_rows
    arrays = [given[f.name].cast(f.type) if f.name in given else pa.nulls(count, f.type) for f in columns]
    return pa.Table.from_arrays(arrays, schema=columns)


def _files(parts: Iterable[Part], columns: pa.Schema) -> ds.FileSystemDataset:
    # The content is in memory already: buffering it ahead only doubles the time.
    parquet = ds.ParquetFileFormat(default_fragment_scan_options=ds.ParquetFragmentScanOptions(pre_buffer=False))
    fragments = [parquet.make_fragment(pa.BufferReader(part.content)) for part in parts]
    return ds.FileSystemDataset(fragments, columns, parquet)
