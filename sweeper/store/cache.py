"""Runs that are finished already, in whatever sweep of a results folder, found by their ids."""

import time
from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from sweeper.store import schema
from sweeper.store.damage import Damage
from sweeper.store.folder import Folder
from sweeper.store.segments import Range, Segments
from sweeper.store.sweeps import outdated, sweeps
from trainer.results.parquet import arrow_schema
from trainer.results.rows import RunResult


class RunCache:
    """The finished runs of a results folder.

    Their ids are kept, and each time only new files are read: an answer takes as long with one run as with a million.
    """

    def __init__(
        self,
        results: str | Path | Folder,
        data_fingerprint: str | None = None,
        own: str | None = None,
        look_every_s: float = 0.0,
    ) -> None:
        """``data_fingerprint`` of the images, if only runs on those are wanted; ``own``: a sweep that is looked at each
        time, while the others are looked at every ``look_every_s`` seconds.
        """
        self._root, self._own, self._look_every_s = Folder.at(results), own, look_every_s
        self._fingerprint, self._damage = data_fingerprint, Damage()
        self._seen: dict[str, set[Range]] = {}
        self._where: dict[str, tuple[str, int]] = {}
        self._decoded: dict[tuple[str, int], pa.Table] = {}
        self._next_look_s = time.monotonic()

    def find(self, run_ids: Collection[str]) -> dict[str, RunResult]:
        """Those of these runs that are finished, by run id."""
        self._look()
        found: dict[str, RunResult] = {}
        for run_id in sorted(self._where.keys() & set(run_ids), key=self._where.__getitem__):
            sweep, trial = self._where[run_id]
            table = self._table(sweep, trial)
            own = pc.and_(pc.equal(table["trial"], trial), pc.equal(table["run_id"], run_id))
            for row in table.filter(own).to_pylist(maps_as_pydicts="strict"):
                found[run_id] = schema.run_result(row)
        return found

    def _table(self, sweep: str, trial: int) -> pa.Table:
        """The rows of the file that holds a trial. The last one is kept, as a merged file answers for many trials."""
        columns = arrow_schema(schema.file_columns())
        if (sweep, trial) not in self._decoded:
            tables = Segments(self._root.child(sweep), self._damage).tables(columns, only=[Range(trial, trial)])
            self._decoded = {(sweep, held): table for table in tables for held in table["trial"].unique().to_pylist()}
        return self._decoded.get((sweep, trial), columns.empty_table())

    def _look(self) -> None:
        names = [self._own] if self._own is not None else []
        if time.monotonic() >= self._next_look_s:
            names = [name for name in sweeps(self._root) if not outdated(self._root.child(name))]
            self._next_look_s = time.monotonic() + self._look_every_s
        wanted = ("run_id", "trial", "status", "data_fingerprint")
        columns = arrow_schema([column for column in schema.file_columns() if column.name in wanted])
        for sweep in names:
            segments = Segments(self._root.child(sweep), self._damage)
            seen = self._seen.setdefault(sweep, set())
            new = [found for found in segments.ranges if found not in seen]
            for table in segments.tables(columns, only=new):
                for row in table.to_pylist():
                    if row["status"] == "finished" and self._fingerprint in (None, row["data_fingerprint"]):
                        self._where.setdefault(row["run_id"], (sweep, row["trial"]))
            seen.update(new)
