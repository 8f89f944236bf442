"""The results of one sweep, written by its driver alone: one file a configuration, and there is no other truth.

A configuration's file is written once, whole, and never edited. When all trials of an aligned block are stored, their
files are merged into one: blocks of 32, then of 256. So 10,000 configurations are less than a hundred files.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sweeper.store import schema
from sweeper.store.damage import Damage
from sweeper.store.folder import Folder
from sweeper.store.lease import Lease
from sweeper.store.names import check_name
from sweeper.store.schema import PromotionRow
from sweeper.store.segments import LARGEST, Range, Rows, Segments, consecutive
from sweeper.store.steering import tidy_steering
from sweeper.store.suggested_file import FILE as SUGGESTED
from sweeper.store.suggested_file import read_suggested, write_suggested
from sweeper.store.sweeps import outdated
from trainer.errors import StoreError
from trainer.results.columns import DETAILS
from trainer.results.parquet import ResultsFile, arrow_schema, encode, to_arrow
from trainer.results.rows import RunResult

_BLOCKS = (32, LARGEST)
"""trials of a merged file: at most 31 single files and 7 of 32 lie beside those of 256. A merge holds its rows in
memory: 256 trials of the real protocol are a few hundred MB"""


class Store:
    """The results of one sweep. Writing raises StoreError once a ``lease`` that was set is lost."""

    def __init__(self, results: str | Path | Folder, sweep: str, report: Callable[[str], None] | None = None) -> None:
        """``results``: a local path or URI. ``report`` takes the line that names a damaged file (default: stderr).

        Raises ConfigError for what cannot be a name, StoreError for a folder of an older schema.
        """
        check_name(sweep)
        self.sweep = sweep
        self.lease: Lease | None = None
        self._folder = Folder.at(results).child(sweep)
        self._damage = Damage(report)
        self._trials: set[int] | None = None
        self._born: str | None = None
        old = outdated(self.folder)
        if old:
            raise StoreError(f"{self.folder}: {old}")

    @property
    def folder(self) -> Folder:
        """The sweep's folder, in which nothing is changed once a ``lease`` that was set is lost."""
        return replace(self._folder, check=None if self.lease is None else self.lease.check)

    def finish_trial(
        self,
        trial: int,
        results: Sequence[RunResult],
        *,
        attempt: str,
        pack: str | None = None,
        objective: float | None = None,
        violations: Mapping[str, float] | None = None,
        params: Mapping[str, Any] | None = None,
        packing_saved_s: Sequence[float | None] | None = None,
    ) -> None:
        """Store a configuration that has ended: ``results``, one a seed.

        When this returns the configuration is stored; if the process dies before, it is not. Raises StoreError if the
        trial is stored already.
        """
        if trial in self.trials():
            raise StoreError(f"{self.folder}: trial {trial} is stored already, and results are never overwritten")
        same = {"sweep": self._born_as(), "trial": trial, "attempt": attempt, "pack": pack, "objective": objective}
        same["violations"] = dict(violations) if violations else None
        same["params_json"] = None if params is None else json.dumps(dict(params), sort_keys=True)
        table = to_arrow(results, schema.file_columns(), same)
        if packing_saved_s is not None:
            place = table.column_names.index("packing_saved_s")
            saved = pa.array(packing_saved_s, table.field(place).type)
            table = table.set_column(place, table.field(place), saved)
        self.folder.child("runs").write(Range(trial, trial).file, encode(table, fast=True))
        self.trials().add(trial)
        self._merge_complete_blocks({trial})

    def promote(self, row: PromotionRow) -> None:
        """Record a decision about a run file."""
        folder = self.folder.child("promotions")
        with self.folder.lock():  # two promotions may end at the same time
            taken = folder.names()
            number = len(taken)
            while f"{number:06d}.parquet" in taken:
                number += 1
            folder.write(f"{number:06d}.parquet", encode(to_arrow([row], schema.tables()["promotions"])))

    def suggest(self, params: Mapping[int, Mapping[str, Any]]) -> None:
        """Note the trials that have been suggested and have not ended, with their parameters, before they start."""
        write_suggested(self.folder, params)

    def reopen_failed(self) -> int:
        """Take back the trials that failed: they count as suggested, with the same parameters. Returns their number.

        After ``tidy``, which it relies on, and like it only for the holder of the lease. If the process dies before a
        file is replaced, its trials are stored as they were.
        """
        rows = self.read(["trial", "status", "params_json"]).to_pylist()
        failed = {row["trial"]: json.loads(row["params_json"] or "{}") for row in rows if row["status"] == "failed"}
        self.suggest(self.suggested() | failed)
        segments = Segments(self.folder, self._damage)
        for where, file in segments.live(only=[Range(trial, trial) for trial in failed]).items():
            stored = {trial for trial in self.trials() if where.first <= trial <= where.last}
            table = pa.concat_tables(segments.tables(_every_column([file]), only=[where], as_stored=True))
            if set(table["trial"].to_pylist()) != stored:
                continue  # its details are damaged: what is left of it stays where it is
            for kept in consecutive(stored - failed.keys()):
                within = pc.is_in(table["trial"], pa.array(range(kept.first, kept.last + 1)))
                self.folder.child("runs").write(kept.file, encode(table.filter(within)))
            self.folder.child("runs").delete(where.file)  # until now it has stood for what lies in its range
        self._trials = None
        self.folder.child("failed").remove()
        return len(failed.keys() - self.trials())

    def tidy(self) -> None:
        """Delete what killed writers left and merge what they did not come to. Only for the holder of the lease."""
        checkpoints = self.folder.child("checkpoints")
        packs = checkpoints.folders()
        ended = set(self.read(["pack"])["pack"].to_pylist()) if packs else set()
        for pack in packs:
            if pack in ended:  # also what a worker wrote that outlived its driver
                checkpoints.child(pack).remove()
            else:
                checkpoints.child(pack).delete_unfinished()
        for folder in (self.folder, *map(self.folder.child, ("runs", "failed", "base"))):
            folder.delete_unfinished()
        tidy_steering(self.folder)
        with self.folder.lock():  # a promotion holds a lease of its own
            self.folder.child("promotions").delete_unfinished()
        self._merge_complete_blocks(self.trials())
        every = [column.name for column in schema.file_columns()]
        segments = Segments(self.folder, self._damage)
        self._delete_within(segments, segments.live(every))
        if SUGGESTED in self.folder.names():  # whole again, where it was damaged
            self.suggest(self.suggested())

    def compact(self) -> None:
        """Merge all files whose trials follow one another, within blocks of the largest size.

        Readers may read, and the process may die, at any moment. Only for the holder of the lease, or while nobody
        writes.
        """
        self.tidy()
        for found in consecutive(self.trials()):
            self._merge(found)

    def _born_as(self) -> str:
        """The sweep that rows name: the folder's name when it was new, which is how readers know foreign files."""
        if self._born is None:
            segments = Segments(self.folder, self._damage)
            self._born = segments.born_as(segments.live(["sweep"])) or self.sweep
        return self._born

    def _merge_complete_blocks(self, trials: Set[int]) -> None:
        """Merge the blocks of these trials of which every trial is stored."""
        for size in _BLOCKS:
            for first in {trial // size * size for trial in trials}:
                if self.trials().issuperset(range(first, first + size)):
                    self._merge(Range(first, first + size - 1))

    def _merge(self, block: Range) -> None:
        """Replace all files within the range, whose trials are all stored, by one."""
        segments = Segments(self.folder, self._damage)
        inner = [file for where, file in segments.live(only=[block]).items() if where in block]
        if len(inner) < 2:
            return
        merged = pa.concat_tables(segments.tables(_every_column(inner), only=[block], as_stored=True))
        if set(merged["trial"].to_pylist()) != set(range(block.first, block.last + 1)):
            return  # a file's details are damaged: what is left of it stays where it is
        self.folder.child("runs").write(block.file, encode(merged.combine_chunks()))
        self._delete_within(segments, [block])

    def _delete_within(self, segments: Segments, whole: Iterable[Range]) -> None:
        """Delete the files within the range of one of these wider ones, which hold their rows."""
        for wider in whole:
            for own in segments.ranges:
                if own in wider and own != wider:
                    self.folder.child("runs").delete(own.file)

    def trials(self) -> set[int]:
        """The numbers of the configurations that are stored."""
        if self._trials is None:
            self._trials = set(self.read(["trial"])["trial"].to_pylist()) - {None}
        return self._trials

    def suggested(self) -> dict[int, dict[str, Any]]:
        """The trials that were suggested and are not stored, with their parameters."""
        found = read_suggested(self.folder, self._damage) or {}
        return {number: params for number, params in found.items() if number not in self.trials()}

    def read(self, columns: Sequence[str] | None = None, detail: str | None = None) -> pa.Table:
        """A row a run, or one for each of its tasks, epochs or classes, of these columns (default: all).

        Damaged files are named once and skipped. Raises StoreError for a file of another schema version.
        """
        known = arrow_schema(schema.tables()[detail] if detail else schema.file_columns())
        wanted = known if columns is None else pa.schema([known.field(name) for name in columns])
        return Rows([Segments(self.folder, self._damage)], wanted, detail).to_table()


def _every_column(files: Iterable[ResultsFile]) -> pa.Schema:
    """The columns of a merged file: those of a method that this checkout lacks are kept."""
    columns = arrow_schema(schema.file_columns())
    plain = {field.name: field for field in columns if field.name not in DETAILS}
    for file in files:
        plain |= {f.name: f for f in file.schema if f.name not in plain and f.name not in DETAILS}
    return pa.schema([*plain.values(), *(columns.field(name) for name in DETAILS)])
