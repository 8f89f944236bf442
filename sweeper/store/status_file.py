"""``status.json`` of a sweep's folder: how it stands, as its driver last said."""

import math
import time
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter

from sweeper.store.damage import Damage
from sweeper.store.folder import Folder
from sweeper.store.lease import holder
from sweeper.store.sealed import read_sealed, sealed_json
from sweeper.store.sweeps import is_promotion

FILE = "status.json"


@dataclass
class Running:
    """A configuration that is being trained."""

    trial: int
    params: dict[str, Any]
    task: int = 0
    """tasks finished"""
    tasks: int = 0
    value: float | None = None
    """the objective's metric after the last task, mean over the seeds"""


@dataclass
class Best:
    """The best finished configuration so far."""

    trial: int
    value: float
    params: dict[str, Any]


@dataclass
class OnFront:
    """A configuration of the Pareto front so far."""

    trial: int
    values: list[float]
    """a mean over seeds for each of the objectives"""
    params: dict[str, Any]


@dataclass
class Status:
    """What the driver last said. Times are seconds since 1970."""

    total: int
    sweep: str = ""
    """name of the sweep, once it is written"""
    state: Literal["running", "finished", "stopped", "failed"] = "running"
    done: int = 0
    """configurations stored, whatever became of them; failed, pruned and diverged ones are among them"""
    failed: int = 0
    pruned: int = 0
    diverged: int = 0
    running: list[Running] = field(default_factory=list)
    waiting: str | None = None
    """why configurations wait, in words"""
    paused: str | None = None
    """who paused the sweep, and when"""
    best: Best | None = None
    """by the first objective"""
    metrics: list[str] = field(default_factory=list)
    """of several objectives; empty with one"""
    front: list[OnFront] = field(default_factory=list)
    """empty with one objective"""
    hypervolume: float | None = None
    """what the front dominates, measured from ``worst``"""
    worst: list[float] = field(default_factory=list)
    """the worst value of each objective that a configuration has had"""
    device_s: float = 0.0
    saved_s: float = 0.0
    started_at: float = field(default_factory=time.time)
    updated_at: float = field(default_factory=time.time)
    eta_s: float | None = None
    """seconds that are left, as far as the driver can tell"""

    def ago(self) -> str:
        """``2 min 5 s ago``: when the driver last said something."""
        return f"{format_duration(max(0.0, time.time() - self.updated_at))} ago"

    def write(self, folder: Folder) -> None:
        """Put it in the sweep's folder. Raises StoreError if that fails."""
        self.updated_at = time.time()
        self.keep(folder)

    def keep(self, folder: Folder) -> None:
        """The same as what was said before, of a sweep that was given another name."""
        self.sweep = folder.name
        content = sealed_json(_STATUS.dump_python(self, mode="json"))
        folder.write(FILE, content, sync=False)  # the next change comes soon

    @staticmethod
    def read(folder: Folder, damage: Damage) -> "Status | None":
        """What the sweep's folder says; None where it says nothing, or where the file is damaged, which is named.

        A folder that a hand has renamed keeps its file. One of a sweep that is there as well has been mistaken.
        """
        then = "the next launch writes it again"
        found = read_sealed(folder, FILE, _STATUS, damage, then)
        if found is None or found.sweep == folder.name or found.sweep not in folder.parent.folders():
            return found
        damage.skipped(f"{folder}/{FILE}", f"it is of the sweep {found.sweep}; {then}")
        return None


_STATUS = TypeAdapter(Status)


def report_lost(folder: Folder, damage: Damage) -> None:
    """Name the file if it is missing where a driver has stored results, before which it has written it."""
    launched = "space.yaml" in folder.names() or is_promotion(folder.name)
    if launched and FILE not in folder.names() and folder.child("runs").names():
        damage.skipped(f"{folder}/{FILE}", "it is missing; the next launch writes it again")


def read_state(folder: Folder, damage: Damage) -> tuple[Status | None, str]:
    """What the driver said last, and the state: as reported, or ``interrupted`` if the driver was killed.

    Files that are damaged, or that must have been deleted, are named.
    """
    status, driver = Status.read(folder, damage), holder(folder, damage)
    if driver is not None and driver.alive():
        return status, "running"
    if status is None:
        report_lost(folder, damage)
        return None, "unknown"
    return status, "interrupted" if status.state == "running" else status.state


def format_duration(seconds: float | None) -> str:
    """``2 h 5 min``, ``3 min 20 s``, ``7 s``; nothing for None, and for a number that is no time."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
