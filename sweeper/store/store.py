"""The results of one sweep: append-only Parquet that the driver alone writes. The only truth there is.

A configuration's rows appear at once, with the part ``trials/part-t<number>.parquet``, which is written
after its tasks, epochs and classes. Those carry the attempt, and rows of attempts without a ``trials`` row
do not count. A configuration that is stored twice, after a crash, replaces itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from sweeper.compact import compact
from sweeper.store import schema
from sweeper.store.folder import Folder
from sweeper.store.lease import Lease
from sweeper.store.parts import encode, file_name
from sweeper.store.reader import DETAILS, Damage, committed, rows_of
from trainer.errors import StoreError

_MERGE_EVERY = 256


class Store:
    """The tables of one sweep.

    Writing through a store whose ``lease`` is set raises StoreError once the lease is lost.
    """

    def __init__(self, results: str | Path | Folder, sweep: str, report: Callable[[str], None] | None = None) -> None:
        """``results``: a local path or URI. ``report`` takes the line that names a damaged part (else stderr)."""
        if not sweep or sweep.startswith(".") or "/" in sweep:
            raise StoreError(f"not the name of a sweep: {sweep!r}")
        self.sweep = sweep
        self.folder = Folder.at(results).child(sweep)
        self.lease: Lease | None = None
        self._damage = Damage(report)
        self._unmerged = 0

    # -- writing ----------------------------------------------------------------------------------

    def append(
        self, table: str, rows: Sequence[Mapping[str, Any]], part: str, same: Mapping[str, Any] | None = None
    ) -> None:
        """Write rows as one part; a part of the same name is replaced.

        ``same`` is what all rows have in common besides; ``sweep`` is filled in.

        Raises StoreError if the folder cannot be written or the lease is lost, TypeError for an unknown column.
        """
        content = encode(schema.to_arrow(table, rows, {**(same or {}), "sweep": self.sweep}))
        if self.lease is not None:
            self.lease.check()
        self.folder.child(table).write(file_name(part), content)

    def finish_trial(
        self,
        trial: int,
        attempt: str,
        results: Sequence[Mapping[str, Any]],
        *,
        pack: str | None = None,
        objective: float | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> None:
        """Store a configuration that has ended.

        ``results``: one a seed, each with ``row``, ``tasks``, ``epochs`` and ``classes`` as a RunResult has them.
        When this returns the configuration is stored; if the process dies before, it is not.
        """
        where = {"trial": trial, "attempt": attempt}

        def details(table: str) -> None:
            rows = [row for result in results for row in result.get(table, ())]
            if rows:
                self.append(table, rows, part_of(trial, attempt), where)

        with ThreadPoolExecutor(len(DETAILS)) as pool:  # together they wait once for the disk
            list(pool.map(details, DETAILS))
        found = {
            "pack": pack,
            "objective": objective,
            "params_json": None if params is None else schema.params_json(params),
        }
        self.append("trials", [result["row"] for result in results], part_of(trial), {**found, **where})
        self._unmerged += 1
        if self._unmerged == _MERGE_EVERY:  # a part costs readers up to a millisecond: thousands would be felt
            self.compact()

    def compact(self) -> None:
        """Merge the parts of each table into one. Readers may read, and the process may die, at any moment.

        Only for the holder of the lease, or while nobody writes.
        """
        if self.lease is not None:
            self.lease.check()
        compact(self.folder, self._damage)
        self._unmerged = 0

    # -- reading ----------------------------------------------------------------------------------

    def read(self, table: str, columns: Sequence[str] | None = None, where: ds.Expression | None = None) -> pa.Table:
        """A table's rows, or some columns of those that ``where`` selects; rows of unfinished attempts are left out.

        Damaged parts are named once and passed over. Raises StoreError for a part of a newer schema.
        """
        # The attempts are read first: details are written before the attempt that they are of counts.
        counted = committed(rows_of(self.folder, "trials", self._damage)) if table in DETAILS else None
        rows = rows_of(self.folder, table, self._damage)
        if counted is not None:
            rows = rows.filter(counted)
        return rows.to_table(columns=None if columns is None else list(columns), filter=where)

    def finished_trials(self) -> set[int]:
        """The numbers of the configurations that are stored."""
        return set(self.read("trials", ["trial"])["trial"].to_pylist())


def part_of(trial: int, attempt: str | None = None) -> str:
    """The part of ``trials`` with a configuration's rows; with the attempt, that of its tasks, epochs, classes."""
    return f"t{trial:06d}" + ("" if attempt is None else f"-{attempt}")


def sweeps(results: str | Path | Folder) -> list[str]:
    """Names of the sweeps in a results folder, sorted."""
    root = Folder.at(results)
    return [name for name in root.folders() if is_sweep(root.child(name))]


def is_sweep(folder: Folder) -> bool:
    """Whether the folder is a sweep's, or that of a single run."""
    return folder.exists("space.yaml") or not {"trials", "asks"}.isdisjoint(folder.folders())
