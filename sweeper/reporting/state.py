"""How a sweep stands, for programs: what ``sweeper.status`` tells people, in one object."""

import math
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from sweeper.store.damage import Damage
from sweeper.store.folder import Folder
from sweeper.store.lease import holder
from sweeper.store.status_file import Status, read_state


class Driver(BaseModel):
    """The process that holds a sweep's lease."""

    host: str
    pid: int
    since: datetime = Field(description="time at which it took the lease")
    alive: bool = Field(description="whether it renews the lease")


class _Trial(BaseModel):
    trial: int = Field(description="number of the configuration")
    params: dict[str, Any] = Field(description="values of its dimensions, by field")


class RunningTrial(_Trial):
    """A configuration in training."""

    tasks_done: int = Field(description="tasks that it has finished")
    tasks: int = Field(description="tasks of a run")
    value: float | None = Field(description="objective after the last finished task, mean over seeds; null before it")


class BestTrial(_Trial):
    """The best finished configuration so far."""

    value: float = Field(description="its objective, mean over seeds")


class FrontTrial(_Trial):
    """A configuration of the Pareto front so far."""

    values: dict[str, float] = Field(description="its objectives by metric, mean over seeds")


class SweepStatus(BaseModel):
    """How a sweep stands, as its driver last said. What is null is not known, or is not there."""

    sweep: str = Field(description="name of the sweep")
    state: Literal["running", "finished", "stopped", "failed", "interrupted", "unknown"] = Field(
        description="interrupted: the driver was killed; stopped: by a signal, a budget or the store"
    )
    driver: Driver | None
    done: int | None = Field(description="configurations that have ended, however they did")
    total: int | None = Field(description="total number of configurations")
    failed: int | None = Field(description="failed configurations among those that have ended")
    pruned: int | None = Field(description="pruned configurations among those that have ended")
    diverged: int | None = Field(description="diverged configurations among those that have ended")
    running: list[RunningTrial]
    best: BestTrial | None
    front: list[FrontTrial] = Field(description="what no other configuration beats in all of several objectives")
    hypervolume: float | None = Field(description="what the front dominates, from `worst`; null with one objective")
    worst: dict[str, float] = Field(description="the worst value of each of several objectives so far, by metric")
    waiting: str | None = Field(description="why configurations wait, in words")
    paused: str | None = Field(description="who paused the sweep, and when, in words")
    device_s: float | None = Field(description="device seconds spent")
    saved_s: float | None = Field(description="device seconds saved")
    left_s: float | None = Field(description="seconds left, as far as the driver can tell")
    changed_at: datetime | None = Field(description="time at which the driver last said something")

    @classmethod
    def of(cls, sweep: str, folder: Folder) -> "SweepStatus":
        """How the sweep in ``folder`` stands; damaged files are named on stderr. Raises StoreError."""
        status, state = read_state(folder, Damage())
        held = holder(folder)
        driver = (
            None if held is None else Driver(host=held.host, pid=held.pid, since=_time(held.since), alive=held.alive())
        )
        told = _told(status, running=state == "running")
        return cls(sweep=sweep, state=state, driver=driver, **told)


def _told(status: Status | None, *, running: bool) -> dict[str, Any]:
    if status is None:
        null = {
            name: None for name, field in SweepStatus.model_fields.items() if name not in ("sweep", "state", "driver")
        }
        return null | {"running": [], "front": [], "worst": {}}
    same = ("done", "total", "failed", "pruned", "diverged", "waiting", "paused", "device_s", "saved_s", "hypervolume")
    best = status.best
    return {name: getattr(status, name) for name in same} | {
        "running": [
            RunningTrial(trial=r.trial, params=r.params, tasks_done=r.task, tasks=r.tasks, value=_finite(r.value))
            for r in (status.running if running else ())
        ],
        "best": None if best is None else BestTrial(trial=best.trial, params=best.params, value=best.value),
        "front": [
            FrontTrial(trial=one.trial, params=one.params, values=dict(zip(status.metrics, one.values, strict=True)))
            for one in status.front
        ],
        "worst": dict(zip(status.metrics, status.worst, strict=bool(status.worst))),
        "left_s": _finite(status.eta_s) if running else None,
        "changed_at": _time(status.updated_at),
    }


def _finite(number: float | None) -> float | None:
    return None if number is None or not math.isfinite(number) else number


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
