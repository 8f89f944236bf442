"""One Ray trial: a pack of configurations with all their seeds, trained together as members of one pass.

A trial writes nothing but checkpoints, under a path that names the attempt, and reports to the driver; a lost
node's trial may run on beside its replacement and does no harm.
"""

from __future__ import annotations

import gc
import math
import socket
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import ray
import torch

from sweeper.search.space import Resources, Space
from sweeper.store.folder import Folder
from trainer.config.run_config import RunConfig, content_hash
from trainer.errors import UserError
from trainer.results.rows import RunResult
from trainer.training.observer import Observer, TaskReport
from trainer.training.options import DeviceOptions
from trainer.training.session import train


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
    def options(self) -> DeviceOptions:
        resources = self.space.spec.resources
        return DeviceOptions(device="cuda" if resources.gpu else "cpu")

    def first_task_checkpoint(self, first_task_id: str) -> FolderSlot:
        """Where the training of a first task is kept."""
        return FolderSlot(Folder.at(self.folder).child("base"), f"{first_task_id}.pt")


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


Report = Callable[[dict[str, Any]], None]


def train_pack(job: Job, pack: Mapping[int, list[RunConfig]], report: Report) -> None:
    """Train the configurations, by number, together; where the device's memory is too small, one half after the other.

    ``report`` hears of every task, of every configuration as soon as it has ended, and of a pack that is split. Raises
    TrialError where not even one configuration fits.
    """
    configs = [c for own in pack.values() for c in own]
    owners = [number for number, own in pack.items() for _ in own]
    reporter = _Reporter(job, owners, pack_key(configs), report)
    slot = AttemptSlot(Folder.at(job.folder).child("checkpoints", reporter.pack), reporter.attempt)
    try:
        train(
            configs,
            job.options,
            checkpoint=slot,
            first_task_checkpoint=job.first_task_checkpoint if job.space.shares_first_task() else None,
            observer=reporter,
        )
        return
    except torch.OutOfMemoryError:
        left = [number for number in pack if number not in reporter.ended]
        if len(left) < 2:
            raise TrialError(f"out of memory: a configuration with {len(pack[left[0]])} seeds is too large") from None
    report({"pack": reporter.pack, "split": True})
    gc.collect()  # what the failed run held
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    for half in (left[: len(left) // 2], left[len(left) // 2 :]):
        train_pack(job, {number: pack[number] for number in half}, report)


class _Reporter(Observer):
    """Tells the driver how each configuration stands after a task and what it came to, and hears which are pruned."""

    def __init__(self, job: Job, owners: Sequence[int], pack: str, report: Report) -> None:
        self.pack, self.attempt = pack, uuid.uuid4().hex[:8]
        self.ended: set[int] = set()
        """numbers of the configurations all of whose runs have ended"""
        self._job, self._owners, self._report = job, owners, report
        self._results: dict[int, RunResult] = {}

    def on_task(self, report: TaskReport) -> Collection[int]:
        metric = self._job.space.spec.objective.metric
        values: dict[int, list[float]] = {}
        for member in report.members:
            found = None if member.status == "diverged" else member.metrics.get(metric)
            values.setdefault(self._owners[member.position], []).append(math.nan if found is None else float(found))
        means = {number: sum(own) / len(own) for number, own in values.items()}
        self._report({"task": report.task, "tasks": report.tasks, "values": means, "pack": self.pack})
        if self._job.mailbox is None or report.task + 1 == report.tasks:
            return ()
        # The driver has answered before `report` returned: it handles a result before it lets a trial go on.
        pruned: list[int] = ray.get(ray.get_actor(self._job.mailbox).take.remote(self.pack, report.task))
        return [m.position for m in report.members if self._owners[m.position] in pruned]

    def on_end(self, results: Mapping[int, RunResult]) -> None:
        self._results |= results
        ended = []
        for number in dict.fromkeys(self._owners):
            own = [position for position, owner in enumerate(self._owners) if owner == number]
            if number not in self.ended and all(position in self._results for position in own):
                self.ended.add(number)
                ended.append({"number": number, "results": [plain(self._results[position]) for position in own]})
        if ended:
            training = len(self.ended) < len(set(self._owners))
            self._report({"attempt": self.attempt, "pack": self.pack, "ended": ended, "training": training})


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


def use(resources: Resources) -> None:
    """Raises TrialError where Ray has given a GPU that PyTorch does not see."""
    torch.set_num_threads(max(1, int(resources.cpu)))
    if resources.gpu and not torch.cuda.is_available():
        raise TrialError(
            f"{socket.gethostname()}: Ray has given this trial a GPU, and PyTorch sees none: "
            "its build is for CPUs only, or the node was started with --num-gpus and has none"
        )
