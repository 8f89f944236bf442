"""Runs that are finished already, in whatever sweep of a results folder, found by their ids."""

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from sweeper.store import schema
from sweeper.store.folder import Folder
from sweeper.store.segments import Damage, Segments
from sweeper.store.store import outdated, sweeps
from trainer.results.parquet import arrow_schema
from trainer.results.rows import RunResult


@dataclass(frozen=True)
class CachedRun:
    """A finished run, and where it is stored."""

    sweep: str
    trial: int
    result: RunResult


@dataclass
class _Seen:
    """What is known of a sweep's files."""

    files: set[str] = field(default_factory=set)
    trials: set[int] = field(default_factory=set)


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
        self._seen: dict[str, _Seen] = {}
        self._where: dict[str, tuple[str, int]] = {}
        self._next_look_s = time.monotonic()

    def find(self, run_ids: Collection[str]) -> dict[str, CachedRun]:
        """Those of these runs that are finished, by run id."""
        self._look()
        places: dict[tuple[str, int], list[str]] = {}
        for run_id in run_ids:
            if run_id in self._where:
                places.setdefault(self._where[run_id], []).append(run_id)
        found: dict[str, CachedRun] = {}
        for (sweep, trial), wanted in places.items():
            segments = Segments(self._root.child(sweep), self._damage)
            for table in segments.tables(arrow_schema(schema.file_columns()), only=[trial]):
                own = table.filter(pc.is_in(table["run_id"], pa.array(wanted)))
                for row in own.to_pylist(maps_as_pydicts="strict"):
                    found[row["run_id"]] = CachedRun(sweep, trial, schema.run_result(row))
        return found

    def _look(self) -> None:
        names = [self._own] if self._own is not None else []
        if time.monotonic() >= self._next_look_s:
            names = [name for name in sweeps(self._root) if not outdated(self._root.child(name))]
            self._next_look_s = time.monotonic() + self._look_every_s
        for name in names:
            self._look_at(name)

    def _look_at(self, sweep: str) -> None:
        seen = self._seen.setdefault(sweep, _Seen())
        segments = Segments(self._root.child(sweep), self._damage)
        wanted = arrow_schema(schema.tables()["runs"])
        columns = pa.schema([wanted.field(name) for name in ("run_id", "trial", "status", "data_fingerprint")])
        new = [r for r in segments.ranges() if r.file not in seen.files]
        seen.files.update(r.file for r in new)
        trials = {trial for r in new for trial in range(r.first, r.last + 1)} - seen.trials
        if not trials:
            return
        for table in segments.tables(columns, only=trials):
            for row in table.to_pylist():
                seen.trials.add(row["trial"])
                if row["status"] == "finished" and self._fingerprint in (None, row["data_fingerprint"]):
                    self._where.setdefault(row["run_id"], (sweep, row["trial"]))
