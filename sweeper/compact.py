"""Merge the many small parts of a sweep's tables: ``python -m sweeper.compact SWEEP [--results DIR]``.

The merged file lists the parts that it replaces; once it is there, readers ignore those. Only then
are they deleted. A process that dies in between leaves files that nobody counts, and the next merge deletes them.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys

import pyarrow as pa

from sweeper.store import schema
from sweeper.store.folder import Folder
from sweeper.store.lease import Lease
from sweeper.store.parts import Merged, encode_merged, file_name
from sweeper.store.reader import DETAILS, Damage, rows_of, snapshot
from sweeper.store.rows import Live, read_parts, schemas
from trainer.errors import StoreError, exit_code, nearest

_LARGE_BYTES = 64 << 20
_LARGE_ROWS = 1 << 20


def compact(sweep: Folder, damage: Damage) -> None:
    """Merge each table's parts into one; for the one process that writes to the sweep."""
    for table in schema.tables():
        _compact_table(sweep, table, damage)


def _compact_table(sweep: Folder, table: str, damage: Damage) -> None:
    folder = sweep.child(table)
    seen = snapshot(folder, damage)
    attempts = _stored_attempts(sweep, damage) if table in DETAILS else None
    live = [one for one in seen.live if not _settled(one)]
    merge = _Merge(_with_unknown_columns(live, schema.schema(table)), attempts)
    merge.add(live)
    obsolete = list(seen.replaced)
    if len(merge.taken) > 1 or merge.shrunk:
        older = {name for one in merge.taken if one.part.merged for name in (one.name, *one.part.merged_files)}
        name, content = encode_merged(merge.rows(), merge.ledger, sorted(older))
        folder.write(file_name(name), content)
        obsolete += [one.name for one in merge.taken if one.name != name]
    for name in obsolete:
        folder.delete(file_name(name))
    folder.delete_unfinished()


def _stored_attempts(sweep: Folder, damage: Damage) -> dict[int, str]:
    stored = rows_of(sweep, "trials", damage).to_table(columns=["trial", "attempt"])
    return dict(zip(stored["trial"].to_pylist(), stored["attempt"].to_pylist(), strict=True))


class _Merge:
    """The rows of parts, one after another, and where each part's are."""

    def __init__(self, columns: pa.Schema, attempts: dict[int, str] | None) -> None:
        """``attempts``: of each stored trial, the one that counts; None for a table whose rows always count."""
        self.ledger: dict[str, Merged] = {}
        self.taken: list[Live] = []
        self.shrunk = False
        """whether some rows of the parts taken count no more"""
        self._columns, self._attempts = columns, attempts
        self._slices: list[pa.Table] = []
        self._length = 0

    def rows(self) -> pa.Table:
        return pa.concat_tables([self._columns.empty_table(), *self._slices]).combine_chunks()

    def add(self, live: list[Live]) -> None:
        """Take the parts, but for attempts that another replaced; leave those whose trial is not stored yet."""
        for one, table in zip(live, read_parts([one.part for one in live], self._columns), strict=True):
            own = one.kept if one.part.merged else {one.name: Merged(one.part.checksum, 0, table.num_rows)}
            slices = {name: table.slice(entry.offset, entry.rows) for name, entry in own.items()}
            counts = {name: self._counts(rows) for name, rows in slices.items()}
            if None in counts.values():
                continue
            self.taken.append(one)
            self.shrunk |= not one.whole or not all(counts.values())
            for name, rows in slices.items():
                if counts[name]:
                    self._slices.append(rows)
                    self.ledger[name] = Merged(own[name].checksum, self._length, rows.num_rows)
                    self._length += rows.num_rows

    def _counts(self, rows: pa.Table) -> bool | None:
        """Whether the rows of one part, which are of one attempt, count; None if that is not known yet."""
        if self._attempts is None:
            return True
        trials, attempts = rows["trial"].unique().to_pylist(), rows["attempt"].unique().to_pylist()
        if any(trial not in self._attempts for trial in trials):
            return None
        return any(self._attempts[trial] in attempts for trial in trials)


def _settled(one: Live) -> bool:
    """Whether a merged part is so large that to write it anew with each merge would cost more than it brings."""
    rows = sum(merged.rows for merged in one.part.merged.values())
    return one.whole and rows > 0 and (rows >= _LARGE_ROWS or one.part.content.size >= _LARGE_BYTES)


def _with_unknown_columns(live: list[Live], columns: pa.Schema) -> pa.Schema:
    # A method that this checkout lacks has columns in the parts that it wrote: they are kept.
    known = set(columns.names)
    for field in itertools.chain.from_iterable(schemas([one.part for one in live])):
        if field.name not in known:
            known.add(field.name)
            columns = columns.append(field)
    return columns


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m sweeper.compact", description="Merge a sweep's Parquet parts.")
    parser.add_argument("sweep")
    parser.add_argument("--results", default=os.environ.get("CIL_RESULTS", "results"), help="default: results")
    arguments = parser.parse_args(argv)
    root = Folder.at(arguments.results)
    folder = root.child(arguments.sweep)
    if not folder.folders():
        near = nearest(arguments.sweep, root.folders())
        raise StoreError(f"{root}: no sweep {arguments.sweep!r}" + (f"; did you mean {near!r}?" if near else ""))
    with Lease.acquire(folder):
        compact(folder, Damage())
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
