"""One launch of a search: its study restored, what it lacks set up, its trials run."""

from collections.abc import Callable, Sequence
from functools import partial

import ray

from sweeper.execution.cluster import ClusterError, must_wait, why_waiting
from sweeper.execution.job import Job, SetUp
from sweeper.execution.notifier import Event, ignore
from sweeper.execution.packing import Packing, largest, noted
from sweeper.execution.places import Places
from sweeper.execution.plan import other_rounding
from sweeper.execution.progress import Progress
from sweeper.execution.pruning import start_decisions
from sweeper.execution.restore import stored_trials
from sweeper.execution.steering import Steering
from sweeper.execution.sweep import Sweep
from sweeper.execution.tune import run_trials
from sweeper.search.space import Space
from sweeper.search.study import Study
from sweeper.store.cache import RunCache
from sweeper.store.store import Store
from trainer.data.tasks import TaskStream
from trainer.results.rows import RunResult
from trainer.training import checkpoint
from trainer.words import WARNING, format_count


class Launch:
    """The study and progress of a search space, restored from its store."""

    def __init__(
        self,
        space: Space,
        store: Store,
        task_stream: TaskStream,
        say: Callable[[str], None],
        resume_with: str,
        notify: Callable[[Event], None] = ignore,
    ) -> None:
        """``say`` prints a line; ``resume_with``: the command that resumes the sweep where it is paused.

        ``notify`` takes what happens to configurations.
        """
        self.space, self.store = space, store
        self._fingerprint = task_stream.fingerprint
        self._reuses_first_tasks = space.reuses_first_tasks() and len(task_stream.tasks) > 1
        metric = space.spec.objective.metric
        self.study, self.steering = Study(space), Steering(space, store, resume_with)
        self.study.trials = self.steering.state.trials
        stored = stored_trials(store, space.goals, first_task=int(self._reuses_first_tasks))
        total = max(self.study.trials, len(stored))  # fewer than are stored may be asked for
        self.progress = Progress(store.folder, total, len(task_stream.tasks), metric, say, notify)
        for trial in stored.values():
            self.progress.count(trial.outcome, trial.runs)
        self.study.restore(stored, store.suggested(), self.steering.state.added)
        self.progress.note_best(self.study.best(), self.study.front)
        self.progress.status.paused = self.steering.state.paused
        self.steering.take(self.study, self.progress)

    @property
    def ended(self) -> bool:
        """Whether every configuration has ended."""
        return self.progress.status.done >= self.study.trials

    def run(self, *, own_cluster: bool, check_stop: Callable[[], None]) -> None:
        """Train configurations until all have ended or the budget is spent, on the cluster that is connected.

        ``own_cluster``: no other process uses it. Raises ClusterError where it can never hold a trial, UserError where
        the set-up cannot be done, and what ``check_stop`` raises.
        """
        spec = self.space.spec
        resources = spec.resources
        places = Places(resources, spec.concurrency, own_cluster=own_cluster)
        if places.room == 0 and own_cluster:
            raise ClusterError(f"{why_waiting(resources)}; this command started its own cluster, on this machine")
        self.progress.say(
            f"sweep {self.space.name}: {format_count(self.study.trials, 'configuration')} x "
            f"{spec.repeated}, "
            f"{self.progress.status.done} stored already, {places.now} at a time; results in {self.store.folder}"
        )
        for note in other_rounding(self.space, self.store):
            self.progress.say(note)
        if self.steering.paused():
            self.progress.say(
                f"paused {self.steering.state.paused}: no trial is started; to resume: {self.steering.resume_with}"
            )
        decisions = start_decisions() if spec.pruning else None

        def publish(pack: str, task: int, numbers: list[int]) -> None:
            if decisions is not None:
                ray.get(decisions.publish.remote(pack, task, numbers))

        known = noted(self.store.folder, resources)
        job = Job(self.store.folder.reachable, resources, spec.objective.metric, self._reuses_first_tasks, decisions)
        cache = RunCache(self.store.folder.parent, self._fingerprint, own=self.store.sweep, look_every_s=10)
        sweep = Sweep(
            self.study,
            job,
            self.store,
            self.progress,
            packing=known or Packing.stated(resources),
            goals=self.space.goals,
            set_up=self._set_up(job, None if known else largest(self.space, places.now)),
            budget=spec.budget,
            retries=spec.retries,
            fail_fast=spec.fail_fast,
            lookup=partial(_stored, cache),
            publish=publish,
            paused=self.steering.paused,
        )

        def check() -> None:
            check_stop()
            self.steering.take(self.study, self.progress)

        self.progress.wait(None if own_cluster else must_wait(resources))  # nothing else occupies one of its own
        with self.steering.watched():
            run_trials(sweep, places=places, check_stop=check)

    def _set_up(self, job: Job, most: int | None) -> SetUp | None:
        """The set-up that is missing, if any; ``most``: configurations of the largest pack to measure, or None."""
        first = self.study.peek()
        if first is None:
            return None
        # Where choices act in the first task, each one's is trained by the first pack that needs it.
        shared = first.configs if job.reuses_first_tasks and self.space.shares_first_task() else ()
        slots = [job.first_task_checkpoint(config.first_task_id) for config in shared]
        # All are looked at, as each damaged one is to be named; and all are trained again if one is missing.
        missing = [slot for slot in slots if checkpoint.load(slot, self._warn) is None]
        return SetUp(first.configs, most, len(shared if missing else ())) if missing or most is not None else None

    def _warn(self, problem: str) -> None:
        self.progress.say(f"{WARNING}{problem}")


def _stored(cache: RunCache, run_ids: Sequence[str]) -> list[RunResult] | None:
    """The results of these runs in any sweep of the results folder, at no cost; None unless all are stored."""
    held = cache.find(run_ids)
    if len(held) < len(run_ids):
        return None
    results = [held[run_id] for run_id in run_ids]
    for result in results:
        saved_s = (result.device_s or 0.0) + (result.saved_s or 0.0)
        result.device_s, result.wall_s, result.saved_s = 0.0, 0.0, saved_s
    return results
