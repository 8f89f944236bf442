"""One Ray trial: a pack of configurations with all their seeds, trained together as members of one pass.

A trial writes nothing but checkpoints, under a path that names the attempt, and reports to the driver; a lost
node's trial may run on beside its replacement and does no harm.
"""

from __future__ import annotations

import json
import math
import socket
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import ray
import torch
from ray import tune

from sweeper.files import Folder
from sweeper.space import Params, Resources, Space
from trainer.config import RunConfig, content_hash
from trainer.errors import UserError
from trainer.precision import Options
from trainer.records import RunResult
from trainer.run import Observer, TaskReport, run, train_base


class TrialError(UserError):
    """A trial's process does not have what Ray said it would."""


@dataclass(frozen=True)
class Job:
    """What every trial of a sweep needs to know."""

    space: Space
    folder: str
    """of the sweep, as a path or URI that every node can reach"""
    mailbox: str | None
    """name of the actor that says what is pruned; None where nothing is"""

    @property
    def options(self) -> Options:
        resources = self.space.spec.resources
        return Options(device="cuda" if resources.gpu else "cpu")

    def base(self, base_id: str) -> FolderSlot:
        """Where the training of a first task is kept."""
        return FolderSlot(Folder.at(self.folder).child("base"), f"{base_id}.pt")


@dataclass(frozen=True)
class FolderSlot:
    """A checkpoint in a results folder, on whatever filesystem that is."""

    folder: Folder
    name: str

    def read(self) -> bytes | None:
        try:
            return self.folder.read_bytes(self.name)
        except FileNotFoundError:
            return None

    def write(self, content: bytes) -> None:
        self.folder.write(self.name, content)

    def __str__(self) -> str:
        return f"{self.folder}/{self.name}"


class AttemptSlot:
    """The checkpoint of a pack: read from the attempt that got furthest, written under one's own name."""

    def __init__(self, folder: Folder, attempt: str) -> None:
        self._folder, self._attempt, self._tasks = folder, attempt, 0

    def read(self) -> bytes | None:
        names = sorted(name for name in self._folder.names() if name.endswith(".pt"))
        if not names:
            return None
        self._tasks = int(names[-1].split("-")[0])
        return self._folder.read_bytes(names[-1])

    def write(self, content: bytes) -> None:
        self._tasks += 1
        self._folder.write(f"{self._tasks:06d}-{self._attempt}.pt", content)
        for name in self._folder.names():
            if name.endswith(f"-{self._attempt}.pt") and int(name.split("-")[0]) < self._tasks:
                self._folder.delete(name)

    def __str__(self) -> str:
        return str(self._folder)


def pack_key(configs: Sequence[RunConfig]) -> str:
    """Names the checkpoints of a pack by its runs."""
    return content_hash([config.run_id for config in configs])


def train_pack(config: Mapping[str, Any], job: Job) -> None:
    """What Ray Tune runs. ``config["pack"]``: ``{"number", "params"}`` of each configuration."""
    pack: list[dict[str, Any]] = config["pack"]
    by_number = {entry["number"]: job.space.configs(entry["params"]) for entry in pack}
    configs = [c for own in by_number.values() for c in own]
    owners = [number for number, own in by_number.items() for _ in own]
    attempt = uuid.uuid4().hex[:8]
    slot = AttemptSlot(Folder.at(job.folder).child("checkpoints", pack_key(configs)), attempt)
    observer = _Reporter(job, owners, pack_key(configs))
    base = job.base if job.space.shares_first_task() else None
    try:
        _use(job.space.spec.resources)
        results = run(configs, job.options, checkpoint=slot, base=base, observer=observer)
    except UserError as error:  # another try would end the same: Ray Tune is not to make one
        tune.report({"report": json.dumps({"refused": str(error)})})
        return
    ended = [
        {"number": number, "results": [plain(r) for r, owner in zip(results, owners, strict=True) if owner == number]}
        for number in by_number
    ]
    tune.report({"report": json.dumps({"attempt": attempt, "pack": pack_key(configs), "ended": ended})})


@ray.remote
def train_first_task(job: Job, params: Params) -> float:
    """Train what all trials share, once. Returns the device seconds spent."""
    _use(job.space.spec.resources)
    return train_base(job.space.configs(params), job.options, job.base)


class _Reporter(Observer):
    """Tells the driver after every task how each configuration stands, and hears which are pruned."""

    def __init__(self, job: Job, owners: Sequence[int], pack: str) -> None:
        self._job, self._owners, self._pack = job, owners, pack

    def on_task(self, report: TaskReport) -> Collection[int]:
        metric = self._job.space.spec.objective.metric
        values: dict[int, list[float]] = {}
        for member in report.members:
            found = None if member.status == "diverged" else member.metrics.get(metric)
            values.setdefault(self._owners[member.position], []).append(math.nan if found is None else float(found))
        means = {number: sum(own) / len(own) for number, own in values.items()}
        step = {"task": report.task, "tasks": report.tasks, "values": means, "pack": self._pack}
        tune.report({"report": json.dumps(step)})
        if self._job.mailbox is None or report.task + 1 == report.tasks:
            return ()
        # The driver has answered before `report` returned: it handles a result before it lets a trial go on.
        pruned: list[int] = ray.get(ray.get_actor(self._job.mailbox).take.remote(self._pack, report.task))
        return [m.position for m in report.members if self._owners[m.position] in pruned]


def results_of(ended: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of a configuration's runs, as they were before they were reported."""
    for result in ended["results"]:
        for name in ("started_at", "finished_at"):
            if result["row"].get(name):
                result["row"][name] = datetime.fromisoformat(result["row"][name])
    return list(ended["results"])


def plain(result: RunResult) -> dict[str, Any]:
    """A result's rows in values that JSON holds; ``results_of`` is the way back."""
    row = {name: v.isoformat() if isinstance(v, datetime) else v for name, v in result.row.items()}
    return {"row": row, "tasks": result.tasks, "epochs": result.epochs, "classes": result.classes}


def _use(resources: Resources) -> None:
    """Raises TrialError where Ray has given a GPU that PyTorch does not see."""
    torch.set_num_threads(max(1, int(resources.cpu)))
    if resources.gpu and not torch.cuda.is_available():
        raise TrialError(
            f"{socket.gethostname()}: Ray has given this trial a GPU, and PyTorch sees none: "
            "its build is for CPUs only, or the node was started with --num-gpus and has none"
        )
