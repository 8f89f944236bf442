"""Runs what is missing, through Ray, and reads what is stored: the results folder is what a table is made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.paper.cells import Cell
from sweeper.execution.cluster import connected, must_wait
from sweeper.execution.given import train_given
from sweeper.search.space import Resources
from sweeper.store.cache import RunCache
from sweeper.store.lease import Lease
from sweeper.store.store import Store
from sweeper.store.sweep_file import absolute_path
from trainer.data.tasks import build
from trainer.results.rows import RunResult

Say = Callable[[str], None]
METRIC = "acc_task_mean_pct"
"""what progress shows"""


@dataclass(frozen=True)
class Measured:
    """What became of a cell's runs."""

    cell: Cell
    runs: tuple[RunResult, ...]
    """those that finished, by seed"""
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
    missing = unstored(cells, store, prints)
    if missing:
        say(f"training {len(missing)} of {len(cells)} cells; results in {store.folder}")
        with Lease.acquire(store.folder) as lease, connected(address):
            store.lease = lease
            why = must_wait(resources)
            if why:
                say(f"waiting: {why}")
            for data, fingerprint in prints.items():
                groups = {cell.label: cell.configs for cell in missing if cell.data == data}
                if groups:
                    found = train_given(groups, store, resources, METRIC, fingerprint, say)
                    notes.update({label: _unfinished(results) for label, results in found.items()})
    held = _held(cells, store, prints)
    return [
        Measured(cell, tuple(held[c.run_id] for c in cell.configs if c.run_id in held), notes.get(cell.label, ""))
        for cell in cells
    ]


def unstored(cells: Sequence[Cell], store: Store, prints: dict[str, str]) -> list[Cell]:
    """The cells with a run that no sweep of the results folder holds."""
    held = _held(cells, store, prints)
    return [cell for cell in cells if any(config.run_id not in held for config in cell.configs)]


def _held(cells: Sequence[Cell], store: Store, prints: dict[str, str]) -> dict[str, RunResult]:
    held: dict[str, RunResult] = {}
    for data, fingerprint in prints.items():
        ids = [config.run_id for cell in cells if cell.data == data for config in cell.configs]
        held |= RunCache(store.folder.parent, fingerprint).find(ids)
    return held


def _unfinished(results: Sequence[RunResult]) -> str:
    """What became of runs that did not finish; nothing if all did."""
    failed = next((result.error for result in results if result.status == "failed"), None)
    if failed is not None:
        return f"failed: {failed}"
    count = sum(result.status != "finished" for result in results)
    return f"{count} of {len(results)} diverged" if count else ""
