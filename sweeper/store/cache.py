"""Runs that are finished already, in whatever sweep, found by their ids."""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.dataset as ds

from sweeper.store import schema
from sweeper.store.folder import Folder
from sweeper.store.reader import DETAILS, Damage, Latest, snapshot
from sweeper.store.rows import Rows
from sweeper.store.store import part_of, sweeps


class Finished:
    """The finished runs of a results folder.

    Their ids are kept, and each time only what is new is read: an answer takes as long with one run as with a million.
    """

    def __init__(
        self,
        results: str | Path | Folder,
        data_fingerprint: str | None = None,
        own: str | None = None,
        look_every_s: float = 0.0,
    ) -> None:
        """``data_fingerprint``: of the images, if only runs on those are wanted. ``own`` names a sweep that is looked
        at each time; the others are every ``look_every_s`` seconds.
        """
        self._root, self._own, self._look_every_s = Folder.at(results), own, look_every_s
        self._counts = pc.field("status") == "finished"
        if data_fingerprint is not None:
            self._counts &= pc.field("data_fingerprint") == data_fingerprint
        self._damage = Damage()
        self._trials: dict[str, Latest] = {}
        self._where: dict[str, tuple[str, int]] = {}
        """sweep and trial, by run id"""
        self._next_look_s = time.monotonic()

    def find(self, run_ids: Collection[str]) -> dict[str, dict[str, Any]]:
        """Those of these runs that are finished, by run id.

        Each is as ``Store.finish_trial`` takes it, ``row``, ``tasks``, ``epochs``, ``classes``, and says in ``sweep``
        and ``trial`` where it is from.
        """
        self._look()
        there: dict[str, dict[str, int]] = {}
        for run_id in run_ids:
            if run_id in self._where:
                sweep, trial = self._where[run_id]
                there.setdefault(sweep, {})[run_id] = trial
        found: dict[str, dict[str, Any]] = {}
        for sweep, runs in there.items():
            found |= self._read(sweep, runs)
        return found

    def _look(self) -> None:
        names = [self._own] if self._own is not None else []
        if time.monotonic() >= self._next_look_s:
            names = sweeps(self._root)
            self._next_look_s = time.monotonic() + self._look_every_s
        for sweep in names:
            folder = self._root.child(sweep, "trials")
            new = self._trials.setdefault(sweep, Latest(folder, self._damage)).look()
            if new:
                rows = Rows(new, schema.schema("trials")).to_table(columns=["run_id", "trial"], filter=self._counts)
                for run_id, trial in zip(rows["run_id"].to_pylist(), rows["trial"].to_pylist(), strict=True):
                    self._where.setdefault(run_id, (sweep, trial))

    def _read(self, sweep: str, runs: dict[str, int]) -> dict[str, dict[str, Any]]:
        """``runs``: the trial of each."""
        folder = self._root.child(sweep)
        its = pc.field("trial").isin(list(set(runs.values()))) & pc.field("run_id").isin(list(runs))
        rows = self._rows(folder, "trials", {part_of(trial) for trial in runs.values()}, its & self._counts)
        found = {row["run_id"]: row for row in reversed(rows) if row["trial"] == runs[row["run_id"]]}
        results = {run_id: {"row": _run_only(r), "sweep": sweep, "trial": r["trial"]} for run_id, r in found.items()}
        for table in DETAILS:
            for result in results.values():
                result[table] = []
            parts = {part_of(row["trial"], row["attempt"]) for row in found.values()}
            for row in self._rows(folder, table, parts, its):
                of = found.get(row["run_id"])
                if of is not None and (row["trial"], row["attempt"]) == (of["trial"], of["attempt"]):
                    results[row["run_id"]][table].append(_run_only(row))
        return results

    def _rows(self, sweep: Folder, table: str, parts: set[str], which: ds.Expression) -> list[dict[str, Any]]:
        live = snapshot(sweep.child(table), self._damage, only=parts).live
        rows = Rows(live, schema.schema(table)).to_table(filter=which)
        return list(rows.to_pylist(maps_as_pydicts="strict"))


def _run_only(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in schema.SWEEP_COLUMNS}
