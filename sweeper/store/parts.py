"""One Parquet part of a table: how it is written, and how it is known to be whole.

The last entry of the file's metadata is ``cil-part:v<schema version>:crc32:<8 hex digits>``, the checksum of all
other bytes. Parquet's own page checksums leave the footer unguarded, and a footer with one bit
changed can read as other numbers. The checksum also names the content: a merged file lists the parts
that it replaces by name and checksum.

A part of few rows holds them twice. Readers need 6 us a column for a Parquet footer, even if they want few columns:
with thousands of parts that is all their time. So the same rows lie between the last page and the footer, where Parquet
readers do not look, as two Arrow streams of one batch each: one row of the columns in which all rows agree, as the
seeds of a configuration do in most, and all rows of the others. The mark goes on with
``:arrow:<start of the one>-<start of the other>-<end>``.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from trainer.errors import Error, StoreError
from trainer.results.columns import VERSION

MERGED = "merged-"
"""what the names of merged parts begin with"""

_FEW = 1000
"""rows that are held twice"""

_ROW_GROUP = 1 << 17
"""rows of a merged part that a reader of one configuration has to pass over"""

_MARK = re.compile(rb"cil-part:v(\d+):crc32:([0-9a-f]{8})(?::arrow:(\d+)-(\d+)-(\d+))?")
_MARK_START = b"cil-part:v"
_ZEROS = b"00000000"


class DamagedPart(Error):
    """A part that is truncated or damaged."""


class Merged(NamedTuple):
    """A part that a merged file replaces, and where its rows are in that file."""

    checksum: str
    offset: int
    rows: int


NOTHING: Mapping[str, Merged] = MappingProxyType({})
"""one for all: of thousands of empty ones the garbage collector would look at each"""


class Part(NamedTuple):
    """A part that was read whole."""

    content: pa.Buffer
    """the file, or of one whose rows are few the streams alone"""
    checksum: str
    merged: Mapping[str, Merged] = NOTHING
    """by part name, for a merged file"""
    merged_files: Sequence[str] = ()
    """names of merged files that this one replaces"""
    agreed: int | None = None
    """of streams: bytes of the first one, of what all rows agree in"""


def file_name(part: str) -> str:
    """The name of a part's file. Raises ValueError for a name that no file should have."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.=-]*", part):
        raise ValueError(f"not the name of a part: {part!r}")
    return f"part-{part}.parquet"


def part_name(file: str) -> str | None:
    """The part of a file, or None if the file is no part."""
    part = file.removeprefix("part-").removesuffix(".parquet")
    return part if part and len(file) == len(part) + len("part-.parquet") else None


def encode(table: pa.Table) -> bytes:
    """The file of one report's rows. Columns that are null throughout are left out, as readers fill them in."""
    found = [name for name in table.column_names if table[name].null_count < max(1, table.num_rows)]
    # Statistics and dictionaries outweigh few rows, and zstd takes longer to set up for each column than it gains.
    options = {"compression": "lz4", "use_dictionary": False, "write_statistics": False}
    return _encode(table.select(found), {}, options, twice=table.num_rows <= _FEW)[1]


def encode_merged(table: pa.Table, merged: Mapping[str, Merged], merged_files: Sequence[str]) -> tuple[str, bytes]:
    """The name and the file of many parts' rows."""
    ledger = {
        "parts": {name: [m.checksum, m.offset, m.rows] for name, m in merged.items()},
        "files": sorted(merged_files),
    }
    checksum, content = _encode(table, {"merged": json.dumps(ledger)}, {"compression": "zstd"}, twice=False)
    return MERGED + checksum, content


def decode(name: str, content: pa.Buffer) -> Part:
    """Check a part's file. Raises DamagedPart, or StoreError if its schema is newer than this code's."""
    mark = _find_mark(content)
    if mark is None:
        return Part(content, _decode_unmarked(content))
    version, given = int(mark[1]), mark[2].decode()
    if _checksum(content, mark)[1] != given:
        raise DamagedPart("its checksum differs: it is truncated or damaged")
    _check_version(version)
    if name.startswith(MERGED):
        ledger: dict[str, Any] = json.loads(pq.read_metadata(pa.BufferReader(content)).metadata[b"merged"])
        merged = {part: Merged(*entry) for part, entry in ledger["parts"].items()}
        return Part(content, given, merged, tuple(ledger["files"]))
    if mark[3] is None:
        return Part(content, given)
    start, middle, end = int(mark[3]), int(mark[4]), int(mark[5])
    # A copy: thousands of whole files would be twice as much memory to fetch.
    return Part(pa.py_buffer(content.slice(start, end - start).to_pybytes()), given, agreed=middle - start)


def _encode(table: pa.Table, metadata: dict[str, str], options: dict[str, Any], *, twice: bool) -> tuple[str, bytes]:
    """The checksum and the file."""
    sink = pa.BufferOutputStream()
    mark = f"cil-part:v{VERSION}:crc32:{_ZEROS.decode()}"
    # Arrow's own copy of the schema would be as large as the rows, and says nothing that readers,
    # who bring the table's schema, need.
    with pq.ParquetWriter(sink, table.schema, store_schema=False, **options) as writer:
        writer.write_table(table, row_group_size=_ROW_GROUP)
        if twice:
            mark += ":arrow:" + "-".join(map(str, _write_streams(sink, table)))
        writer.add_key_value_metadata({"schema_version": str(VERSION), **metadata, "part": mark})
    content = sink.getvalue()
    found = _find_mark(content)
    assert found is not None
    digits, checksum = _checksum(content, found)
    written = content.to_pybytes()
    return checksum, written[:digits] + checksum.encode() + written[digits + 8 :]


def _write_streams(sink: pa.NativeFile, table: pa.Table) -> list[int]:
    """Returns where they start and where the last one ends."""
    last = max(0, table.num_rows - 1)
    # The first column always counts the rows.
    alike = [c for c in table.column_names[1:] if table.num_rows and table[c].slice(1).equals(table[c].slice(0, last))]
    bounds = [sink.tell()]
    for part, compression in ((table.select(alike).slice(0, 1), None), (table.drop_columns(alike), "lz4")):
        schema = part.schema.remove_metadata()
        options = pa.ipc.IpcWriteOptions(compression=compression, use_threads=False)
        with pa.ipc.new_stream(sink, schema, options=options) as writer:
            # One batch, even of no rows: readers tell the parts apart by it.
            writer.write_batch(pa.record_batch([column.combine_chunks() for column in part.columns], schema))
        bounds.append(sink.tell())
    return bounds


def _find_mark(content: pa.Buffer) -> re.Match[bytes] | None:
    # The footer is at the end: only a file without a mark is searched whole.
    for size in (4096, content.size):
        tail = content.slice(max(0, content.size - size)).to_pybytes()
        start = tail.rfind(_MARK_START)
        if start >= 0:
            return _MARK.match(tail, start)
    return None


def _checksum(content: pa.Buffer, mark: re.Match[bytes]) -> tuple[int, str]:
    """Where the mark's digits are, and the crc32 of the content with zeros in their place."""
    digits = content.size - len(mark.string) + mark.start(2)
    view = memoryview(content)
    total = zlib.crc32(view[digits + 8 :], zlib.crc32(_ZEROS, zlib.crc32(view[:digits])))
    return digits, f"{total:08x}"


def _decode_unmarked(content: pa.Buffer) -> str:
    """A part of a single run's folder, which has no checksum: reading all of it is the check.

    Such a part has Arrow's schema in its metadata. One of a sweep has not, even if it lost its mark.
    """
    try:
        metadata = pq.read_metadata(pa.BufferReader(content)).metadata or {}
        if b"ARROW:schema" not in metadata:
            raise DamagedPart("it has neither a checksum nor Arrow's schema: it is damaged, or no part")
        version = int(metadata.get(b"schema_version", b"1"))
        if version <= VERSION:
            pq.read_table(pa.BufferReader(content))
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
        reason = str(error).splitlines() or [type(error).__name__]
        raise DamagedPart(f"it is no readable Parquet file: {reason[0]}") from error
    _check_version(version)
    return f"{zlib.crc32(content):08x}"


def _check_version(version: int) -> None:
    if version > VERSION:
        raise StoreError(f"written with schema version {version}, and this code reads up to {VERSION}: update the code")
