"""The driver's side of a sweep: decide what is trained next, and handle the outcomes.

Only the driver writes results. It notes a suggestion before handing it out and stores an outcome before telling the
study, so that a sweep that is killed at any instant resumes from its files.
"""

import math
import re
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from sweeper.execution import messages
from sweeper.execution.budget import Room
from sweeper.execution.job import Job, SetUp, pack_as_trial
from sweeper.execution.packing import Packing, note
from sweeper.execution.progress import Progress
from sweeper.search.given import GivenConfigurations
from sweeper.search.outcome import Goals
from sweeper.search.space import Budget
from sweeper.search.study import Study, Suggestion, objective_by_task
from sweeper.store.store import Store
from trainer.config.files import dump_run
from trainer.errors import UserError
from trainer.results.history import failed_result
from trainer.results.rows import RunResult
from trainer.words import WARNING, format_count

WAIT = None
"""the answer to a trial that must wait"""

Lookup = Callable[[Sequence[str]], list[RunResult] | None]
"""results of runs that are stored already, by their ids; None unless all are"""


Cause = Literal["code", "process", "node", "world"]
"""what ends a Ray trial early: an exception of its code, its process, its node, or a disk, device or network"""

_LOSSES = 5
"""a process lost so often in a row before its pack has finished another task is lost through the pack"""
_FAULTS, _FAULTS_AT_START = 12, 3
"""faults of the world in a row that end a launch: those of six minutes; fewer as long as nothing has worked at all"""
_LONGEST_PAUSE_S = 60.0


class BrokenSweepError(UserError):
    """The first configurations of a launch all failed for the same reason: it is hardly theirs."""


@dataclass
class _Pack:
    """Configurations that are trained together, and how often that was cut short; for the set-up there are none."""

    whole: Mapping[int, Suggestion]
    """by number, with those that have ended: the checkpoints are of all"""
    open: dict[int, Suggestion]
    """those that have not ended"""
    crashes: int = 0
    losses: int = 0
    """processes, since the last finished task"""
    began_s: float = 0.0
    """when it was handed out last, by the sweep's clock"""
    tasks: set[tuple[str, int]] = field(default_factory=set)
    """finished ones: a resumed pack reports them again"""

    @classmethod
    def of(cls, *suggestions: Suggestion) -> Self:
        whole = {suggestion.number: suggestion for suggestion in suggestions}
        return cls(whole, dict(whole))

    def __str__(self) -> str:
        numbers = ", ".join(map(str, self.open))
        return f"trial{'s' if len(self.open) > 1 else ''} {numbers}" if self.open else "set-up"


class Sweep:
    """Hands out packs of configurations and handles what workers report of them.

    An outcome is stored only if the configuration caused it. What was cut short for another reason is handed out again.
    """

    def __init__(
        self,
        source: Study | GivenConfigurations,
        job: Job,
        store: Store,
        progress: Progress,
        *,
        packing: Packing,
        goals: Goals | None = None,
        set_up: SetUp | None = None,
        budget: Budget | None = None,
        retries: int = 2,
        fail_fast: int | None = None,
        lookup: Lookup = lambda run_ids: None,
        publish: Callable[[str, int, list[int]], None] = lambda pack, task, numbers: None,
        paused: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``goals`` of the search (default: the job's metric); ``set_up``: what is missing before the first pack;
        ``retries`` after exceptions in a pack; ``fail_fast``: configurations that fail for the same reason, with none
        that does not, which end the sweep; ``publish`` tells the workers of a pack which trials are pruned after a
        task; ``paused``: whether nothing is to be handed out for the time being; ``clock`` gives seconds.
        """
        self.job, self.store, self.progress = job, store, progress
        self.refusal: UserError | None = None
        """the reason why the sweep cannot go on; then nothing more is handed out"""
        self._source, self._packing, self._room = source, packing, Room(budget or Budget(), progress)
        self._goals = goals or Goals(job.metric)
        self._lookup, self._publish, self._paused = lookup, publish, paused
        self._retries, self._fail_fast, self._clock = retries, fail_fast, clock
        self._set_up, self._setting_up, self._set_up_tries = set_up, "", _Pack.of()
        self._packs: dict[str, _Pack] = {}
        """packs in training, by Ray trial"""
        self._returned: list[_Pack] = []
        """packs that were cut short, and are handed out next"""
        self._waiting: list[Suggestion] = []
        """suggestions that could not be trained with the last pack"""
        self._failures: list[tuple[Suggestion, str]] = []
        """failed configurations and reasons that are not stored yet, as the sweep itself may be why they failed"""
        self._worked, self._faults, self._resumes_at = False, 0, -math.inf
        self._decided: dict[int, dict[int, tuple[float, bool]]] = {}
        """objective and whether to prune, by number and task, of configurations in training"""
        self._open = store.suggested()

    def next_trial(self, trial_id: str) -> dict[str, Any] | bool | None:
        """The configuration of a Ray trial: the set-up, and after it the next pack.

        WAIT while the set-up is under way, after a fault, while the sweep is paused, and while a pack in training may
        yet be cut short, or cost less than is expected; False when all is suggested or the budget has no room for more.
        """
        if self.refusal is not None:
            return False
        if self._setting_up or self._clock() < self._resumes_at:
            return WAIT
        if self._paused() and not self._spent() and (self._returned or self._waiting or self._source.left):
            return WAIT
        if self._set_up is not None:
            self._setting_up = trial_id
            if self._set_up.first_tasks:
                kind = "seed" if self._set_up.configs[0].world is None else "run"
                count = format_count(self._set_up.first_tasks, kind)
                self.progress.say(f"training the first task once for all configurations ({count})")
            return self._set_up.as_trial()
        pack = self._returned.pop(0) if self._returned and not self._spent() else self._new_pack()
        if pack is None:
            return WAIT if self._packs else False
        self._packs[trial_id], pack.began_s = pack, self._clock()
        self._write()
        return pack_as_trial({number: suggestion.configs for number, suggestion in pack.whole.items()})

    @property
    def training(self) -> int:
        """Ray trials that have been handed out and have not ended."""
        return len(self._packs) + bool(self._setting_up)

    @property
    def wanted(self) -> int:
        """Ray trials that could run now if there were room, those in training included."""
        if self._set_up is not None:  # until it has ended the size of packs is not known
            return 1
        if self.refusal is not None or self._spent() or self._paused():
            return self.training
        to_come = math.ceil((len(self._waiting) + self._source.left) / self._packing.pack)
        return self.training + len(self._returned) + to_come

    def _new_pack(self) -> _Pack | None:
        """Of suggestions that wait, and of new ones up to the size of a pack, those that fit the first of them."""
        pack: dict[int, Suggestion] = {}
        waiting, self._waiting = self._waiting, []
        while len(pack) < self._packing.pack and not self._spent(len(pack)):
            if not waiting and len(pack) + len(self._waiting) >= self._packing.pack:
                break
            suggestion = waiting.pop(0) if waiting else self._source.ask()
            if suggestion is None:
                break
            if suggestion.number not in self._open:
                self._open[suggestion.number] = suggestion.params
                self.store.suggest(self._open)
            in_training = [*pack.values(), *(s for other in self._packs.values() for s in other.open.values())]
            if any(suggestion.configs == other.configs for other in in_training):
                self._waiting.append(suggestion)  # once that one has ended, the store may answer
                continue
            held = self._lookup([config.run_id for config in suggestion.configs])
            if held is not None:
                runs = [(result.status, [getattr(row, self.job.metric) for row in result.tasks]) for result in held]
                for task, value in objective_by_task(runs, int(self.job.reuses_first_tasks)).items():
                    self._source.report(suggestion.number, task, value)
                self._finish(suggestion, "from-store", None, held)
            elif pack and not suggestion.configs[0].trains_together_with(next(iter(pack.values())).configs[0]):
                self._waiting.append(suggestion)
            else:
                pack[suggestion.number] = suggestion
        self._waiting += waiting
        return _Pack.of(*pack.values()) if pack else None

    def _spent(self, beginning: int = 0) -> bool:
        """Whether the budget has no room for another configuration; ``beginning``: those of a pack that is made up."""
        return not self._room.left(beginning + sum(len(pack.open) for pack in self._packs.values()))

    def receive(self, trial_id: str, message: messages.Message) -> None:
        """Handle a message of a worker. Ray Tune gives the last one of a trial twice."""
        match message:
            case messages.PackingMeasured():
                self._packing = message.packing
                note(self.store.folder, self.job.resources, self._packing)
                self.progress.say(str(self._packing))
            case messages.PackingNotMeasured():
                self.progress.say(f"pack size {self._packing.pack} (could not be measured: {message.reason})")
            case messages.SetUpDone():
                if self._set_up is not None and message.first_task_s is not None:
                    spent = f"{message.first_task_s:.1f} device seconds"
                    self.progress.say(f"first task trained: {spent}, saved in every other configuration")
                    self.job.checkpoints(self._set_up.pack).remove()
                self._set_up, self._setting_up = None, ""
                self._note_progress()
            case messages.TaskDone():
                self._note_task(trial_id, message)
            case messages.TrialsEnded():
                self._note_ended(trial_id, message)
            case messages.PackSplit():  # it was too large for the device, and its checkpoints are of no use
                self.job.checkpoints(message.pack).remove()
                self._packing = replace(self._packing, pack=max(1, self._packing.pack // 2))
                note(self.store.folder, self.job.resources, self._packing)
                count = format_count(self._packing.pack, "configuration")
                self.progress.say(f"out of memory: pack split in two; later packs hold at most {count}")
            case messages.Failed():
                pack = self._take(trial_id)
                if pack is not None:
                    self._give_up(pack, message.reason)
            case messages.Interrupted():
                self.interrupted(trial_id, "world", message.reason)
            case messages.Evicted():
                self.interrupted(trial_id, "node", message.reason)
            case messages.Warned():
                self.progress.say(f"{WARNING}{message.text}")
        self._write()

    def interrupted(self, trial_id: str, cause: Cause, why: str) -> None:
        """Take back what a Ray trial that ended early has not finished, and hand it out again.

        A pack is given up after more than ``retries`` exceptions, or when it loses process after process.
        """
        pack = self._take(trial_id)
        if pack is None:
            return
        pack.crashes += cause == "code"
        pack.losses += cause == "process"
        if pack.crashes > self._retries or pack.losses >= _LOSSES:
            lost = f" ({_LOSSES} times in a row)" if cause == "process" else ""
            self._give_up(pack, why + lost)
        else:
            if pack.whole:
                self._returned.append(pack)
            if cause == "world":
                self._pause(f"{pack}: {why}")
            else:
                then = "resuming from its last checkpoint" if pack.whole else "retrying"
                self.progress.say(f"{pack}: {why}; {then}")
        self._write()

    def end(self) -> None:
        """Store what is not stored yet, once nothing more is handed out."""
        self._store_failed()
        self.store.suggest(self._open)

    def _store_failed(self) -> None:
        """Store the configurations that failed: another one did not, or failed for another reason."""
        for suggestion, why in self._failures:
            results = [failed_result(config, why) for config in suggestion.configs]
            self._finish(suggestion, "failed", None, results)
        self._failures, self._fail_fast = [], None

    def _take(self, trial_id: str) -> _Pack | None:
        """What a Ray trial has not finished; None if it has nothing left to do."""
        if trial_id == self._setting_up:
            self._setting_up = ""
            return self._set_up_tries
        return self._packs.pop(trial_id, None)

    def _pause(self, why: str) -> None:
        """Hand out nothing for a while, which grows with each fault; with too many in a row the sweep ends."""
        if self._clock() >= self._resumes_at:  # what ends during a pause ended for the same reason
            self._faults += 1
            self._resumes_at = self._clock() + min(2.0 ** (self._faults - 1), _LONGEST_PAUSE_S)
        if self._faults >= (_FAULTS if self._worked else _FAULTS_AT_START):
            self.refusal = UserError(f"{why} ({self._faults} times in a row); nothing is lost, and a relaunch resumes")
        else:
            self.progress.say(f"{why}; trying again in {self._resumes_at - self._clock():.0f} s")

    def _give_up(self, pack: _Pack, why: str) -> None:
        """The configuration is why its training failed; of several, each is trained alone to see which one it is."""
        if not pack.whole:
            self.refusal = UserError(why)
        elif len(pack.whole) > 1:
            self.progress.say(f"{pack}: {why}; each is trained alone now")
            self._returned += map(_Pack.of, pack.open.values())
        else:
            for suggestion in pack.open.values():
                self._note_failed(suggestion, why)

    def _note_failed(self, suggestion: Suggestion, why: str) -> None:
        """Write a run file that reproduces the failure, and store it once it is known not to be the sweep's."""
        folder, name = self.store.folder.child("failed"), f"trial-{suggestion.number:06d}.yaml"
        folder.write(name, dump_run(suggestion.configs[0]).encode())
        file = f"{folder}/{name}"
        how = f"reproduce it: {shlex.join(['python', '-m', 'trainer.run', file])}"
        self.progress.say(f"trial {suggestion.number}: {why}; {how if folder.local else f'its run file: {file}'}")
        self._failures.append((suggestion, why))
        if self._fail_fast is None or len({re.sub(r"[\d.]+", "", reason) for _, reason in self._failures}) > 1:
            self._store_failed()
        elif len(self._failures) >= self._fail_fast:
            self.refusal = BrokenSweepError(
                f"the first {len(self._failures)} configurations failed for the same reason: {why}. None is stored: "
                "fix it and run the same command, which tries them again, or pass --set fail_fast=null to store them"
            )

    def _note_progress(self, pack: _Pack | None = None) -> None:
        self._worked, self._faults = True, 0
        if pack is not None:
            pack.losses = 0

    def _note_ended(self, trial_id: str, message: messages.TrialsEnded) -> None:
        pack = self._packs.get(trial_id)
        if pack is not None:
            for ended in message.ended:
                suggestion = pack.open.pop(ended.number, None)
                if suggestion is not None:  # a resumed pack reports again what has ended
                    self._note_progress(pack)
                    self._store_failed()
                    self._finish(suggestion, message.attempt, message.pack, ended.results)
            if not pack.open:
                del self._packs[trial_id]
                self._room.note(self._clock() - pack.began_s)
        if not message.training:
            self.job.checkpoints(message.pack).remove()

    def _note_task(self, trial_id: str, message: messages.TaskDone) -> None:
        pack, pruned = self._packs.get(trial_id, _Pack.of()), []
        if (message.pack, message.task) not in pack.tasks:
            pack.tasks.add((message.pack, message.task))
            self._note_progress(pack)
        for number, value in message.values.items():
            if number not in pack.open or not math.isfinite(value):
                continue
            decided = self._decided.setdefault(number, {})
            if message.task not in decided:  # a resumed pack reports tasks again, and gets the same answer
                decided[message.task] = value, self._source.report(number, message.task, value)
            if decided[message.task][1] and message.task + 1 < message.tasks:
                pruned.append(number)
        self._publish(message.pack, message.task, pruned)

    def _finish(self, suggestion: Suggestion, attempt: str, pack: str | None, results: Sequence[RunResult]) -> None:
        """Store, then tell, then say."""
        outcome = self._goals.outcome_of(results)
        gain = self._packing.gain
        self.store.finish_trial(
            suggestion.number,
            results,
            attempt=attempt,
            pack=pack,
            objective=outcome.value,
            violations=outcome.violations,
            params=suggestion.params,
            packing_saved_s=[None if gain is None else (r.device_s or 0.0) * (gain - 1) for r in results],
        )
        self._open.pop(suggestion.number, None)
        self._decided.pop(suggestion.number, None)
        self._source.tell(suggestion.number, outcome)
        self.progress.ended(suggestion, outcome, self._source.best(), self._source.front)

    def _write(self) -> None:
        self.progress.write(
            (suggestion, [value for value, _ in self._decided.get(number, {}).values()])
            for pack in self._packs.values()
            for number, suggestion in pack.open.items()
        )
