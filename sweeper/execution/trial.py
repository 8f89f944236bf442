"""One Ray trial: a pack of configurations with all their repetitions, trained together: a pass for each world.

A trial writes nothing but checkpoints, under a path that names the attempt, and reports to the driver; a lost
node's trial may continue alongside its replacement and does no harm.
"""

import gc
import math
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from statistics import fmean

import ray
import torch

from sweeper.execution.job import Job, first_task_pack
from sweeper.execution.messages import EndedTrial, Message, PackSplit, TaskDone, TrialsEnded, Warned
from sweeper.store.damage import Damage
from sweeper.store.folder import Folder
from sweeper.store.stopped_file import read_stopped
from trainer.config.run_config import RunConfig, content_hash
from trainer.errors import UserError
from trainer.results.rows import RunResult
from trainer.training.observer import Observer, TaskReport
from trainer.training.session import train
from trainer.words import format_count


class TrialError(UserError):
    """A configuration needs more than a device has."""


class AttemptSlot:
    """The checkpoint of a pack: read from the attempt that got furthest, written under one's own name."""

    def __init__(self, folder: Folder, attempt: str) -> None:
        self._folder, self._attempt, self._tasks, self._read = folder, attempt, 0, ""

    def read(self) -> bytes | None:
        names = sorted(name for name in self._folder.names() if name.endswith(".pt"))
        self._tasks, self._read = (int(names[-1].split("-")[0]), names[-1]) if names else (0, "")
        return self._folder.read_bytes(self._read) if names else None

    def write(self, content: bytes) -> None:
        self._tasks += 1
        self._folder.write(f"{self._tasks:06d}-{self._attempt}.pt", content)
        self._folder.delete(f"{self._tasks - 1:06d}-{self._attempt}.pt")

    def discard(self) -> None:
        self._folder.delete(self._read)

    def part(self, name: str) -> "AttemptSlot":
        """The slot of one world, in a folder below."""
        return AttemptSlot(self._folder.child(name), self._attempt)

    def __str__(self) -> str:
        return f"{self._folder}/{self._read}"


def train_pack(
    job: Job,
    pack: Mapping[int, Sequence[RunConfig]],
    report: Callable[[Message], None],
    stops: Callable[[], bool] = lambda: False,
) -> None:
    """Train the configurations, by number, together; where the device's memory is too small, one half after the other.

    ``report`` takes a message after every task, as soon as a configuration has ended, and when a pack is split. Raises
    TrialError where not even one configuration fits, and TrainingStopped, with a checkpoint written, once ``stops``,
    which is called after every step, returns True.
    """
    reporter = _Reporter(job, pack, report, stops)
    configs = [config for own in pack.values() for config in own]
    try:
        train(
            configs,
            job.options,
            checkpoint=AttemptSlot(job.checkpoints(reporter.pack), reporter.attempt),
            first_task_checkpoint=job.first_task_checkpoint if job.reuses_first_tasks else None,
            first_task_progress=AttemptSlot(job.checkpoints(first_task_pack(configs)), reporter.attempt),
            observer=reporter,
        )
        return
    except torch.OutOfMemoryError:
        left = list(reporter.left)
        if len(left) < 2:
            kind = "seed" if configs[0].world is None else "run"
            raise TrialError(
                f"out of memory: a configuration with {format_count(len(pack[left[0]]), kind)} is too large"
            ) from None
    report(PackSplit(pack=reporter.pack))
    gc.collect()  # what the failed run held
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    for half in (left[: len(left) // 2], left[len(left) // 2 :]):
        train_pack(job, {number: pack[number] for number in half}, report, stops)


class Warner(Observer):
    """Tells the driver which checkpoints could not be read, and stops where ``stops`` says so."""

    def __init__(self, report: Callable[[Message], None], stops: Callable[[], bool]) -> None:
        self._report, self._stops = report, stops

    def on_step(self) -> bool:
        return self._stops()

    def on_unreadable(self, problem: str) -> None:
        self._report(Warned(text=problem))


class _Reporter(Warner):
    """Reports values after each task and outcomes to the driver, and drops the configurations that it prunes or that
    were stopped by hand.
    """

    def __init__(
        self,
        job: Job,
        pack: Mapping[int, Sequence[RunConfig]],
        report: Callable[[Message], None],
        stops: Callable[[], bool],
    ) -> None:
        super().__init__(report, stops)
        self.pack = content_hash([config.run_id for own in pack.values() for config in own])
        """names the checkpoints of the pack by its runs"""
        self.attempt = uuid.uuid4().hex[:8]
        self.left: dict[int, list[int]] = {}
        """configurations not all of whose runs have ended: positions of the runs in the pack, by number"""
        self._job = job
        self._owners = [number for number, own in pack.items() for _ in own]
        for position, number in enumerate(self._owners):
            self.left.setdefault(number, []).append(position)
        self._results: dict[int, RunResult] = {}

    def on_resume(self, reports: Sequence[TaskReport]) -> None:
        for report in reports[int(self._job.reuses_first_tasks) :]:
            self._tell(report)

    def on_task(self, report: TaskReport) -> Collection[int]:
        self._tell(report)
        if report.task + 1 == report.tasks:
            return ()
        dropped = read_stopped(Folder.at(self._job.folder), Damage(self.on_unreadable))
        if self._job.decisions is not None:
            # The driver has decided before `_tell` returned: it handles a result before it lets a trial continue.
            dropped.update(ray.get(self._job.decisions.fetch.remote(self.pack, report.task)))
        return [m.position for m in report.members if self._owners[m.position] in dropped]

    def _tell(self, report: TaskReport) -> None:
        values: dict[int, list[float]] = {}
        for member in report.members:
            found = None if member.status == "diverged" else getattr(member.metrics, self._job.metric)
            values.setdefault(self._owners[member.position], []).append(math.nan if found is None else found)
        means = {number: fmean(own) for number, own in values.items()}
        self._report(TaskDone(pack=self.pack, task=report.task, tasks=report.tasks, values=means))

    def on_end(self, results: Mapping[int, RunResult]) -> None:
        self._results |= results
        numbers = [number for number, own in self.left.items() if self._results.keys() >= set(own)]
        ended = [EndedTrial(number=n, results=tuple(self._results[p] for p in self.left.pop(n))) for n in numbers]
        if ended:
            self._report(
                TrialsEnded(pack=self.pack, attempt=self.attempt, ended=tuple(ended), training=bool(self.left))
            )
