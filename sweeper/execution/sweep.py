"""The driver's side of a sweep: decide what is trained next, and handle the outcomes.

Only the driver writes results. It notes a suggestion before handing it out and stores an outcome before telling the
study, so that a sweep that is killed at any instant resumes from its files.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sweeper.execution import messages
from sweeper.execution.job import Job, SetUp, pack_as_trial
from sweeper.execution.packing import Packing, note
from sweeper.execution.progress import Progress
from sweeper.search.given import GivenConfigurations
from sweeper.search.space import Budget, format_count
from sweeper.search.study import Outcome, Study, Suggestion, objective_by_task
from sweeper.store.store import Store
from trainer.config.files import dump_run
from trainer.errors import UserError
from trainer.results.history import failed_result
from trainer.results.rows import RunResult

WAIT = None
"""the answer to a trial that must wait"""

Lookup = Callable[[Sequence[str]], list[RunResult] | None]
"""results of runs that are stored already, by their ids; None unless all are"""


class Sweep:
    """Hands out packs of configurations and handles what workers report of them."""

    def __init__(
        self,
        source: Study | GivenConfigurations,
        job: Job,
        store: Store,
        progress: Progress,
        *,
        packing: Packing,
        set_up: SetUp | None = None,
        budget: Budget | None = None,
        lookup: Lookup = lambda run_ids: None,
        publish: Callable[[str, int, list[int]], None] = lambda pack, task, numbers: None,
    ) -> None:
        """``set_up``: what is missing before the first pack; ``publish`` tells the workers of a pack which trials are
        pruned after a task.
        """
        self.job, self.store, self.progress = job, store, progress
        self.refusal: UserError | None = None
        """the reason why the set-up failed; then no pack is trained"""
        self._source, self._packing, self._budget = source, packing, budget or Budget()
        self._lookup, self._publish = lookup, publish
        self._set_up, self._setting_up = set_up, ""
        self._packs: dict[str, dict[int, Suggestion]] = {}
        """configurations in training, by Ray trial and number"""
        self._apart: list[Suggestion] = []
        """suggestions that are trained next: they could not be trained with the last pack, or were returned"""
        self._decided: dict[int, dict[int, tuple[float, bool]]] = {}
        """objective and whether to prune, by number and task, of configurations in training"""
        self._open = store.suggested()

    def next_trial(self, trial_id: str) -> dict[str, Any] | bool | None:
        """The configuration of a Ray trial: the set-up, and after it the next pack.

        WAIT while the set-up is under way; False when all is suggested or the budget is spent.
        """
        if self.refusal is not None:
            return False
        if self._set_up is not None:
            if self._setting_up:
                return WAIT
            self._setting_up = trial_id
            if self._set_up.first_tasks:
                seeds = format_count(self._set_up.first_tasks, "seed")
                self.progress.say(f"training the first task once for all configurations ({seeds})")
            return self._set_up.as_trial()
        pack: dict[int, Suggestion] = {}
        while len(pack) < self._packing.pack and not self._spent():
            suggestion = self._apart.pop(0) if self._apart else self._source.ask()
            if suggestion is None:
                break
            if suggestion.number not in self._open:
                self._open[suggestion.number] = suggestion.params
                self.store.suggest(self._open)
            held = self._lookup([config.run_id for config in suggestion.configs])
            if held is not None:
                runs = [(result.status, [getattr(row, self.job.metric) for row in result.tasks]) for result in held]
                for task, value in objective_by_task(runs, int(self.job.shares_first_task)).items():
                    self._source.report(suggestion.number, task, value)
                self._finish(suggestion, "from-store", None, held)
            elif pack and not suggestion.configs[0].trains_together_with(next(iter(pack.values())).configs[0]):
                self._apart.append(suggestion)
                break
            else:
                pack[suggestion.number] = suggestion
        if not pack:
            return False
        self._packs[trial_id] = pack
        self._write()
        return pack_as_trial({number: suggestion.configs for number, suggestion in pack.items()})

    def _spent(self) -> bool:
        """Whether the budget is spent."""
        hours, device_hours = self.progress.elapsed_hours(), self.progress.status.device_s / 3600
        budget = self._budget
        return hours >= (budget.wall_hours or math.inf) or device_hours >= (budget.device_hours or math.inf)

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
                self._set_up = None
            case messages.TaskDone():
                self._note_task(trial_id, message)
            case messages.TrialsEnded():
                pack = self._packs.get(trial_id, {})
                for ended in message.ended:
                    suggestion = pack.pop(ended.number, None)
                    if suggestion is not None:  # a retried pack reports again what has ended
                        self._finish(suggestion, message.attempt, message.pack, ended.results)
                if not message.training:
                    self.store.folder.child("checkpoints", message.pack).remove()
            case messages.PackSplit():  # it was too large for the device, and its checkpoints are of no use
                self.store.folder.child("checkpoints", message.pack).remove()
                self._packing = replace(self._packing, pack=max(1, self._packing.pack // 2))
                note(self.store.folder, self.job.resources, self._packing)
                count = format_count(self._packing.pack, "configuration")
                self.progress.say(f"out of memory: pack split in two; later packs hold at most {count}")
            case messages.Refused():
                self.fail(trial_id, message.reason)
        self._write()

    def fail(self, trial_id: str, why: str) -> None:
        """Store the configurations of a dead trial as failed, and each as a run file that reproduces it."""
        if trial_id == self._setting_up and self._set_up is not None:
            self.refusal = UserError(why)
        for suggestion in self._packs.pop(trial_id, {}).values():
            self._finish(suggestion, f"failed-{trial_id}", None, [failed_result(c, why) for c in suggestion.configs])
            folder, name = self.store.folder.child("failed"), f"trial-{suggestion.number:06d}.yaml"
            folder.write(name, dump_run(suggestion.configs[0]).encode())
            how = "reproduce it: python -m trainer.run" if folder.local else "its run file:"
            self.progress.say(f"    {how} {folder}/{name}")
        self._write()

    def returned(self, trial_id: str) -> None:
        """Take back what a trial was given that never started: the next trial is given it."""
        if trial_id == self._setting_up:
            self._setting_up = ""
        self._apart = [*self._packs.pop(trial_id, {}).values(), *self._apart]
        self._write()

    @property
    def has_more(self) -> bool:
        """Whether configurations wait to be trained that no trial was given, or that one returned."""
        return bool(self._apart) and self.refusal is None and not self._spent()

    def recovered(self, trial_id: str, why: str) -> None:
        """Print why a trial died; Ray Tune retries it."""
        if trial_id == self._setting_up and self._set_up is not None:
            self.progress.say(f"setup failed ({why}); retrying")
            return
        numbers = ", ".join(str(number) for number in self._packs.get(trial_id, {}))
        self.progress.say(f"trial {numbers}: {why}; resuming from its last completed task")

    def _note_task(self, trial_id: str, message: messages.TaskDone) -> None:
        pruned = []
        for number, value in message.values.items():
            if number not in self._packs.get(trial_id, {}) or not math.isfinite(value):
                continue
            decided = self._decided.setdefault(number, {})
            if message.task not in decided:  # a retried trial reports tasks again, and gets the same answer
                decided[message.task] = value, self._source.report(number, message.task, value)
            if decided[message.task][1] and message.task + 1 < message.tasks:
                pruned.append(number)
        self._publish(message.pack, message.task, pruned)

    def _finish(self, suggestion: Suggestion, attempt: str, pack: str | None, results: Sequence[RunResult]) -> None:
        """Store, then tell, then say."""
        outcome = Outcome.over([(result.status, getattr(result, self.job.metric)) for result in results], results)
        gain = self._packing.gain
        self.store.finish_trial(
            suggestion.number,
            results,
            attempt=attempt,
            pack=pack,
            objective=outcome.value,
            params=suggestion.params,
            packing_saved_s=[None if gain is None else (r.device_s or 0.0) * (gain - 1) for r in results],
        )
        self._open.pop(suggestion.number, None)
        self._decided.pop(suggestion.number, None)
        self._source.tell(suggestion.number, outcome)
        self.progress.ended(suggestion, outcome, self._source.best())

    def _write(self) -> None:
        self.progress.write(
            (suggestion, [value for value, _ in self._decided.get(number, {}).values()])
            for pack in self._packs.values()
            for number, suggestion in pack.items()
        )
