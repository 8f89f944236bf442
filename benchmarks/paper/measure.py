"""Runs what is missing, through Ray, and reads what is stored: the results folder is what a table is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.paper.cells import Cell
from sweeper.execution.cluster import connected, must_wait
from sweeper.execution.rerun import rerun, write_status
from sweeper.search.space import Resources
from sweeper.store.cache import Finished
from sweeper.store.lease import Lease
from sweeper.store.store import Store
from sweeper.store.sweep_file import absolute_path
from trainer.data.tasks import build
from trainer.errors import UserError

Say = Callable[[str], None]


@dataclass(frozen=True)
class Measured:
    """What became of a cell's runs."""

    cell: Cell
    runs: tuple[dict[str, Any], ...]
    """those that finished, by seed: ``row`` of table trials, ``tasks`` and ``classes``"""
    note: str = ""
    """what became of the others"""


def fingerprints(cells: Sequence[Cell]) -> dict[str, str]:
    """Of the images of each data set. Raises DataError for images that are missing."""
    first = {cell.data: absolute_path(cell.configs[0]) for cell in reversed(cells)}
    return {data: build(config.data, config.protocol).fingerprint for data, config in first.items()}


def measure(cells: Sequence[Cell], store: Store, resources: Resources, address: str | None, say: Say) -> list[Measured]:
    """Every cell, in order; what any sweep of the results folder holds is not trained again."""
    prints = fingerprints(cells)
    notes: dict[str, str] = {}

    def lose(label: str, why: UserError) -> None:
        notes[label] = f"failed: {why}"
        say(f"  {label}: {why}")

    missing = unstored(cells, store, prints)
    if missing:
        say(f"{len(missing)} of {len(cells)} cells are to be trained; results in {store.folder}")
        with Lease.acquire(store.folder) as lease, connected(address):
            store.lease = lease
            why = must_wait(resources)
            if why:
                say(f"waiting: {why}")
            for data, fingerprint in prints.items():
                groups = {cell.label: cell.configs for cell in missing if cell.data == data}
                rows = rerun(groups, store, resources, fingerprint, say, lose)
                notes.update({label: _diverged(found) for label, found in rows.items()})
            write_status(store)
    held = _held(cells, store, prints)
    return [
        Measured(cell, tuple(held[c.run_id] for c in cell.configs if c.run_id in held), notes.get(cell.label, ""))
        for cell in cells
    ]


def unstored(cells: Sequence[Cell], store: Store, prints: dict[str, str]) -> list[Cell]:
    """The cells with a run that no sweep of the results folder holds."""
    held = _held(cells, store, prints)
    return [cell for cell in cells if any(config.run_id not in held for config in cell.configs)]


def _held(cells: Sequence[Cell], store: Store, prints: dict[str, str]) -> dict[str, dict[str, Any]]:
    held: dict[str, dict[str, Any]] = {}
    for data, fingerprint in prints.items():
        ids = [config.run_id for cell in cells if cell.data == data for config in cell.configs]
        held |= Finished(store.folder.parent, fingerprint).find(ids)
    return held


def _diverged(rows: Sequence[dict[str, Any]]) -> str:
    count = sum(row["status"] != "finished" for row in rows)
    return f"{count} of {len(rows)} diverged" if count else ""
