"""One launch of a search: its study restored, what it lacks set up, its trials run."""

import uuid
from collections.abc import Callable, Sequence

import ray

from sweeper.execution.cluster import ClusterError, fits, must_wait, why_waiting
from sweeper.execution.job import Job, SetUp
from sweeper.execution.packing import Packing, largest, noted
from sweeper.execution.progress import Progress
from sweeper.execution.pruning import start_decisions
from sweeper.execution.restore import stored_trials
from sweeper.execution.signals import Stopped
from sweeper.execution.sweep import Sweep
from sweeper.execution.tune import run_trials
from sweeper.search.space import Space
from sweeper.search.study import Study
from sweeper.store.cache import RunCache
from sweeper.store.store import Store
from trainer.data.tasks import TaskStream
from trainer.errors import UserError
from trainer.results.rows import RunResult


class Launch:
    """The study and progress of a search space, restored from its store."""

    def __init__(self, space: Space, store: Store, task_stream: TaskStream, say: Callable[[str], None]) -> None:
        self.space, self.store, self._benchmark = space, store, task_stream
        metric = space.spec.objective.metric
        self.study = Study(space)
        self.progress = Progress(store.folder, space.spec.trials, len(task_stream.tasks), metric, say)
        stored = stored_trials(store, metric, first_task=int(self._shares_first_task()))
        costs: dict[int, list[dict[str, float | None]]] = {}
        for row in store.read(["trial", "device_s", "saved_s"]).to_pylist():
            costs.setdefault(row["trial"], []).append(row)
        for number, trial in stored.items():
            self.progress.count(trial.outcome, costs[number])
        self.study.restore(stored, store.suggested())

    @property
    def ended(self) -> bool:
        """Whether every configuration has ended."""
        return self.progress.status.done >= self.space.spec.trials

    def run(self, *, own_cluster: bool, check_stop: Callable[[], None]) -> None:
        """Train configurations until all have ended or the budget is spent, on the cluster that is connected.

        ``own_cluster``: no other process uses it. Raises ClusterError where it can never hold a trial, UserError where
        the set-up cannot be done, and what ``check_stop`` raises.
        """
        resources, spec = self.space.spec.resources, self.space.spec
        room = fits(resources)
        if room == 0 and own_cluster:
            raise ClusterError(f"{why_waiting(resources)}; this command started its own cluster, on this machine")
        concurrency = spec.concurrency or max(1, room)
        self.progress.say(
            f"sweep {self.space.name}: {spec.trials} configurations x {len(spec.seeds)} "
            f"seed{'s' if len(spec.seeds) > 1 else ''}, {self.progress.status.done} stored already, {concurrency} at a "
            f"time; results in {self.store.folder}"
        )
        name = f"prune-decisions-{uuid.uuid4().hex[:8]}" if spec.pruning else None
        decisions = start_decisions(name) if name else None

        def publish(pack: str, task: int, numbers: list[int]) -> None:
            if decisions is not None:
                ray.get(decisions.publish.remote(pack, task, numbers))

        known = noted(self.store.folder, resources)
        job = self._job(name)
        sweep = Sweep(
            self.study,
            job,
            self.store,
            self.progress,
            packing=known or Packing.stated(resources),
            set_up=self._set_up(job, None if known else largest(self.space, concurrency)),
            budget=spec.budget,
            lookup=self._lookup(),
            publish=publish,
        )
        try:
            self.progress.wait(must_wait(resources))
            self.progress.begin()
            run_trials(
                sweep,
                concurrency=concurrency,
                retries=spec.retries,
                check_stop=check_stop,
                # On a cluster of its own nothing else occupies what trials need: one that does not run yet is starting.
                why_waiting=lambda: None if own_cluster else why_waiting(resources),
            )
        except Stopped:
            self.progress.end("stopped")
            raise
        except UserError:
            self.progress.end("failed")
            raise

    def _job(self, decisions: str | None) -> Job:
        spec = self.space.spec
        return Job(
            self.store.folder.reachable, spec.resources, spec.objective.metric, self._shares_first_task(), decisions
        )

    def _shares_first_task(self) -> bool:
        return self.space.shares_first_task() and len(self._benchmark.tasks) > 1

    def _set_up(self, job: Job, most: int | None) -> SetUp | None:
        """The set-up that is missing, if any; ``most``: configurations of the largest pack to measure, or None."""
        first = self.study.peek()
        if first is None:
            return None
        shared = first.configs if job.shares_first_task else ()
        missing = [c for c in shared if job.first_task_checkpoint(c.first_task_id).read() is None]
        return SetUp(first.configs, most, len(missing)) if missing or most is not None else None

    def _lookup(self) -> Callable[[Sequence[str]], list[RunResult] | None]:
        """Look configurations up in all sweeps of the results folder."""
        store = self.store
        cache = RunCache(store.folder.parent, self._benchmark.fingerprint, own=store.sweep, look_every_s=10)

        def lookup(run_ids: Sequence[str]) -> list[RunResult] | None:
            held = cache.find(run_ids)
            if any(run_id not in held for run_id in run_ids):
                return None
            results = [held[run_id] for run_id in run_ids]
            for result in results:
                saved_s = (result.device_s or 0.0) + (result.saved_s or 0.0)
                result.device_s, result.wall_s, result.saved_s = 0.0, 0.0, saved_s
            return results

        return lookup
