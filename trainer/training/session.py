"""Train runs: ``train(configs)`` from Python, ``python -m trainer.run RUN.yaml`` from a shell.

Configurations that differ only in their seed and in per-member hyperparameters are members of one pass. Runs in several
worlds are a pass for each: all are trained on a task before any is on the next one, so that what is decided after a
task is decided on all worlds.
"""

from collections.abc import Callable, Sequence
from typing import Any

from trainer.config.run_config import RunConfig
from trainer.data.sources import load
from trainer.data.tasks import TaskStream, cut
from trainer.errors import ConfigError
from trainer.results.rows import RunResult
from trainer.training import checkpoint as ckpt
from trainer.training.observer import MemberReport, Observer, TaskReport
from trainer.training.one_pass import Pass
from trainer.training.options import DeviceOptions, deterministic

FirstTaskCheckpoint = Callable[[str], ckpt.CheckpointSlot]
"""where the training of a first task is kept, by ``RunConfig.first_task_id``"""


def train(
    configs: Sequence[RunConfig],
    options: DeviceOptions | None = None,
    *,
    checkpoint: ckpt.CheckpointSlot | ckpt.PartedSlot | None = None,
    first_task_checkpoint: FirstTaskCheckpoint | None = None,
    first_task_progress: ckpt.CheckpointSlot | ckpt.PartedSlot | None = None,
    observer: Observer | None = None,
    task_stream: TaskStream | None = None,
) -> list[RunResult]:
    """Train all configurations together and return their results in the same order.

    ``checkpoint``: resumed from if it holds these runs, kept up to date after every task, and within a task as
    often as the options say; with several worlds, a ``PartedSlot``. ``first_task_checkpoint``: where the first task,
    trained once for all that agree on it, is looked up; ``first_task_progress``: what ``checkpoint`` is for the rest of
    the training. ``task_stream``: trained and measured on instead of what the configurations, of one world, describe.

    A checkpoint that cannot be read counts as none: see ``Observer.on_unreadable``.

    Raises ConfigError if the configurations of a world cannot be members of one pass, DataError if the images do not
    hold what they need, CheckpointError if the checkpoint belongs to other runs, TrainingStopped where the observer
    stops the training.
    """
    options = options or DeviceOptions()
    with deterministic(options.deterministic):
        session = _Session(list(configs), options, checkpoint, observer or Observer(), task_stream)
        return session.run(first_task_checkpoint, first_task_progress)


def train_first_task(
    configs: Sequence[RunConfig],
    options: DeviceOptions,
    first_task_checkpoint: FirstTaskCheckpoint,
    observer: Observer | None = None,
    checkpoint: ckpt.CheckpointSlot | ckpt.PartedSlot | None = None,
) -> tuple[dict[str, dict[str, Any]], float]:
    """The checkpoints of these configurations' first task, by first task id, and the device seconds spent on it now.

    Where one of a world is missing all of that world are trained: alone it would differ in its last digits from what it
    is among the others. ``checkpoint``: of the training of that task, as often as the options say. Raises what
    ``train`` raises.
    """
    found: dict[str, dict[str, Any]] = {}
    spent_s = 0.0
    worlds = of_worlds(configs)
    for index, positions in enumerate(worlds):
        slot = _part(checkpoint, index, len(worlds))
        own, seconds = _first_task([configs[p] for p in positions], options, first_task_checkpoint, observer, slot)
        found, spent_s = found | own, spent_s + seconds
    return found, spent_s


def of_worlds(configs: Sequence[RunConfig]) -> list[list[int]]:
    """The positions of the configurations of each world, in the order in which worlds come first."""
    found: dict[str, list[int]] = {}
    for position, config in enumerate(configs):
        found.setdefault(str(config.world), []).append(position)
    return list(found.values())


def _first_task(
    configs: Sequence[RunConfig],
    options: DeviceOptions,
    first_task_checkpoint: FirstTaskCheckpoint,
    observer: Observer | None,
    checkpoint: ckpt.CheckpointSlot | None,
) -> tuple[dict[str, dict[str, Any]], float]:
    """The same for configurations of one world."""
    observer = observer or Observer()
    first = {config.first_task_id: config for config in reversed(configs)}
    slots = {key: first_task_checkpoint(key) for key in sorted(first)}
    found = {
        key: content for key, slot in slots.items() if (content := ckpt.load(slot, observer.on_unreadable)) is not None
    }
    if len(found) == len(slots):
        return found, 0.0
    own = [first[key] for key in slots]
    (task_stream,) = _task_streams([own])
    trained = Pass(own, options, checkpoint, observer, task_stream)
    trained.resume()
    trained.train_task()
    for member, (key, slot) in enumerate(slots.items()):
        single = trained.state.subset([member])
        single.positions, single.histories = [0], [trained.state.histories[member]]
        written = ckpt.to_bytes(single, [first[key].run_id])
        slot.write(written)
        found[key] = ckpt.from_bytes(written, slot)
    return found, sum(history.tasks[0].device_s for history in trained.state.histories)


def _task_streams(worlds: Sequence[Sequence[RunConfig]]) -> list[TaskStream]:
    """The tasks of each world, cut from the same images."""
    source = load(worlds[0][0].data)
    return [cut(source, configs[0].data, configs[0].protocol) for configs in worlds]


def _part(slot: ckpt.CheckpointSlot | ckpt.PartedSlot | None, index: int, parts: int) -> ckpt.CheckpointSlot | None:
    """The slot of one world; the whole slot where there is one world alone."""
    if slot is None or parts == 1:
        return slot
    if not hasattr(slot, "part"):
        raise TypeError("runs in several worlds need a checkpoint slot with parts")
    return slot.part(f"world{index}")


class _Session:
    """One call of ``train``: a pass for each world."""

    def __init__(
        self,
        configs: list[RunConfig],
        options: DeviceOptions,
        checkpoint: ckpt.CheckpointSlot | ckpt.PartedSlot | None,
        observer: Observer,
        task_stream: TaskStream | None,
    ) -> None:
        if not configs:
            raise ConfigError("no configuration given")
        self.configs, self.options, self.observer = configs, options, observer
        self.positions = of_worlds(configs)
        """of each pass, the positions of its runs in ``configs``"""
        worlds = [[configs[position] for position in own] for own in self.positions]
        if task_stream is not None and len(worlds) > 1:
            raise ConfigError("a task stream is of one world, and the configurations are of several")
        slots = [_part(checkpoint, index, len(worlds)) for index in range(len(worlds))]
        streams = _task_streams(worlds) if task_stream is None else [task_stream]
        self.passes = [
            Pass(own, options, slot, observer, stream) for own, slot, stream in zip(worlds, slots, streams, strict=True)
        ]
        self.results: dict[int, RunResult] = {}
        """results of runs that have ended, by position"""

    def run(
        self,
        first_task_checkpoint: FirstTaskCheckpoint | None,
        first_task_progress: ckpt.CheckpointSlot | ckpt.PartedSlot | None,
    ) -> list[RunResult]:
        resumed = [one.resume() for one in self.passes]
        for index, (one, was) in enumerate(zip(self.passes, resumed, strict=True)):
            if not was and first_task_checkpoint is not None and one.tasks > 1:
                progress = _part(first_task_progress, index, len(self.passes))
                found, _ = _first_task(one.configs, self.options, first_task_checkpoint, self.observer, progress)
                one.begin_behind_first_task(found)
        if any(resumed):
            self.observer.on_resume([self._report(task) for task in range(self._done())])
        while any(one.unfinished for one in self.passes):
            self._train_next_task()
        self._tell_ended(all_of_them=True)
        return [self.results[position] for position in range(len(self.configs))]

    def _done(self) -> int:
        """Tasks that are behind all members."""
        cursors = [one.state.cursor.task for one in self.passes if one.state.members]
        return min(cursors, default=max(one.state.cursor.task for one in self.passes))

    def _train_next_task(self) -> None:
        """Train the first task that a world still lacks, in those that do, and decide on all worlds."""
        live = [one for one in self.passes if one.unfinished]
        task = min(one.state.cursor.task for one in live)
        *earlier, last = [one for one in live if one.state.cursor.task == task]
        for one in earlier:
            one.train_task()
            one.save()
        last.train_task()
        pruned = self.observer.on_task(self._report(task))
        fewer = {
            id(one): one.drop([own.index(position) for position in pruned if position in own])
            for one, own in zip(self.passes, self.positions, strict=True)
        }
        self._tell_ended()
        # The last one's checkpoint says that the task is behind all: by then the others' members are dropped.
        for one in live:
            if one is not last and fewer[id(one)]:
                one.save()
        last.save()

    def _report(self, task: int) -> TaskReport:
        members = [
            MemberReport(own[member.position], member.status, member.metrics)
            for one, own in zip(self.passes, self.positions, strict=True)
            for member in one.reports(task)
        ]
        return TaskReport(task, self.passes[0].tasks, tuple(sorted(members, key=lambda member: member.position)))

    def _tell_ended(self, *, all_of_them: bool = False) -> None:
        """Tell the observer, once, of runs that have ended: of those without a member left, or all of them."""
        ended = {
            own[position]: result
            for one, own in zip(self.passes, self.positions, strict=True)
            for position, result in one.end(live=() if all_of_them else one.state.positions).items()
        }
        self.results |= ended
        if ended:
            self.observer.on_end(ended)
