"""One Parquet file of results: how it is written, and how damage to it is noticed.

Parquet's page checksums guard neither the headers of pages nor the footer, and a footer with one bit changed can read
as other numbers. So the footer holds a crc32 of each region of the file: the plain columns, every column that holds
rows, and the footer itself. A reader checks the footer, and the regions of the columns that it wants.
"""

import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trainer.errors import Error, StoreError
from trainer.results.columns import DETAILS, VERSION, Column
from trainer.results.rows import Row

_DIGEST = re.compile(rb"results version (\d+), regions end at((?: \d{12})+), crc32((?: [0-9a-f]{8})+)\.")


class DamagedFile(Error):
    """A file of results that is truncated or corrupted."""


def arrow_schema(columns: Sequence[Column]) -> pa.Schema:
    """The Arrow schema of these columns."""
    return pa.schema([(column.name, column.type) for column in columns])


def to_arrow(rows: Sequence[Row], columns: Sequence[Column], same: Mapping[str, Any] | None = None) -> pa.Table:
    """Rows as a table of all these columns, null where a row has no value; ``same``: values that all rows share.

    Raises TypeError for a value that has no column, or is not of its column's type: the writer's bug.
    """
    records = [{**_record(row), **(same or {})} for row in rows]
    unknown = set().union(*records) - {column.name for column in columns}
    if unknown:
        raise TypeError(f"no column is called {', '.join(sorted(unknown))}")
    try:
        return pa.Table.from_pylist(records, schema=arrow_schema(columns))
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"a value does not fit its column: {error}") from error


def _record(row: Row) -> dict[str, Any]:
    values = dict(row)
    for name in DETAILS & values.keys():
        values[name] = [vars(inner) for inner in values[name]]
    return {**values.pop("config", {}), **values}


def encode(table: pa.Table, *, fast: bool = False) -> bytes:
    """The file that holds these rows, at least one. ``fast``: for few rows, which are merged into a larger file later.

    Few rows are smaller and twice as fast to write without dictionaries and statistics.
    """
    sink = pa.BufferOutputStream()
    regions = 1 + sum(name in DETAILS for name in table.column_names)
    blank = _digest([0] * regions, [0] * (regions + 1))
    # Arrow's own copy of the schema would be as large as the rows of one configuration, and says nothing new.
    options: dict[str, Any] = {"store_schema": False, "write_page_checksum": True, "compression": "zstd"}
    if fast:
        options |= {"compression": "lz4", "use_dictionary": False, "write_statistics": False}
    with pq.ParquetWriter(sink, table.schema, **options) as writer:
        writer.write_table(table, row_group_size=len(table))  # one group: each region is one stretch of bytes
        writer.add_key_value_metadata({"digest": blank.decode()})
    content = bytearray(sink.getvalue())
    ends = _region_ends(pq.read_metadata(pa.py_buffer(content)))
    place = slice(start := content.rindex(blank), start + len(blank))
    checksums = [zlib.crc32(memoryview(content)[a:b]) for a, b in zip([0, *ends], ends, strict=False)]
    content[place] = _digest(ends, [*checksums, 0])
    content[place] = _digest(ends, [*checksums, zlib.crc32(memoryview(content)[ends[-1] :])])
    return bytes(content)


def _digest(ends: Sequence[int], checksums: Sequence[int]) -> bytes:
    bounds = "".join(f" {end:012d}" for end in ends)
    digits = "".join(f" {checksum:08x}" for checksum in checksums)
    return f"results version {VERSION}, regions end at{bounds}, crc32{digits}.".encode()


def _region_ends(metadata: pq.FileMetaData) -> list[int]:
    group, ends, end, before = metadata.row_group(0), [], 0, ""
    for index in range(metadata.num_columns):
        chunk = group.column(index)
        column = chunk.path_in_schema.partition(".")[0]
        if column in DETAILS and column != before:
            ends.append(end)
        start = chunk.data_page_offset if chunk.dictionary_page_offset is None else chunk.dictionary_page_offset
        before, end = column, start + chunk.total_compressed_size
    return [*ends, end]


class ResultsFile:
    """A file of results whose footer is whole; the rest of it is checked as it is read."""

    def __init__(self, content: pa.Buffer) -> None:
        """Raises DamagedFile, or StoreError if the file has another schema version."""
        self._content = memoryview(content)
        start = max(0, len(self._content) - (1 << 16))
        matches = list(_DIGEST.finditer(self._content[start:]))
        if not matches:
            raise DamagedFile("no digest in its footer (truncated, corrupted, or not a file of results)")
        found = matches[-1]
        self._ends = [int(end) for end in found[2].split()]
        self._checksums = [int(digits, 16) for digits in found[3].split()]
        footer = bytearray(self._content[self._ends[-1] :])
        last = start + found.end(3) - 8 - self._ends[-1]
        if len(self._checksums) != len(self._ends) + 1 or last < 0 or len(footer) < last + 8:
            raise DamagedFile("its digest is corrupted")
        footer[last : last + 8] = b"00000000"
        if zlib.crc32(footer) != self._checksums[-1]:
            raise DamagedFile("checksum mismatch in its footer (truncated or corrupted)")
        if int(found[1]) != VERSION:
            raise StoreError(f"schema version {int(found[1])}, and this version of the code reads {VERSION}")
        reader = pq.ParquetFile(pa.BufferReader(content))
        self._buffer, self._metadata, self._idle = content, reader.metadata, [reader]
        self.schema: pa.Schema = reader.schema_arrow
        """the columns that the file has"""
        self._whole: set[int] = set()

    def check(self, columns: Iterable[str]) -> None:
        """Raise DamagedFile if a region that holds one of these columns is damaged; columns it lacks are no matter."""
        names = self.schema.names
        details = [name for name in names if name in DETAILS]
        wanted = {details.index(name) + 1 if name in details else 0 for name in columns if name in names}
        for region in wanted - self._whole:
            start = self._ends[region - 1] if region else 0
            if zlib.crc32(self._content[start : self._ends[region]]) != self._checksums[region]:
                raise DamagedFile("checksum mismatch (truncated or corrupted)")
            self._whole.add(region)

    def read(self, columns: pa.Schema, detail: str | None = None) -> pa.Table:
        """These columns, null where the file lacks one: a row a run, or a row for each of its ``detail`` rows.

        ``detail``: tasks, epochs or classes; columns that it has are taken from there, the others from the run.
        Raises DamagedFile.
        """
        own = set(self.schema.names)
        inner = set(self.schema.field(detail).type.value_type.names) if detail else set()
        known = [name for name in columns.names if name in inner | own]
        if detail and not inner & set(known):
            known.append("task")  # for the lengths of the lists
        paths = [f"{detail}.list.element.{name}" if name in inner else name for name in known]
        self.check(path.partition(".")[0] for path in paths)
        # DuckDB reads tables at the same time, and one reader is not for several threads: each takes an idle one.
        try:
            reader = self._idle.pop()
        except IndexError:
            reader = pq.ParquetFile(pa.BufferReader(self._buffer), metadata=self._metadata)
        table = reader.read(columns=paths or [self.schema.names[0]], use_threads=False)
        self._idle.append(reader)
        found = dict(zip(table.column_names, table.columns, strict=True))
        rows = len(table)
        if detail:
            lists = found.pop(detail).combine_chunks()
            parents, details = pc.list_parent_indices(lists), pc.list_flatten(lists)
            found = {name: column.take(parents) for name, column in found.items()}
            found |= dict(zip(details.type.names, details.flatten(), strict=True))
            rows = len(details)
        arrays = [found[f.name].cast(f.type) if f.name in found else pa.nulls(rows, f.type) for f in columns]
        return pa.Table.from_arrays(arrays, schema=columns)
