"""Adapt a sweep to Ray Tune, which places trials, retries lost ones and reuses their processes."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import cloudpickle, tune
from ray.exceptions import RayActorError
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from sweeper.execution.cluster import why_waiting
from sweeper.execution.job import RESULT
from sweeper.execution.messages import from_json
from sweeper.execution.signals import Stopped
from sweeper.execution.sweep import Sweep
from sweeper.execution.worker import run_trial
from trainer.errors import UserError

_LOOK_EVERY_S = 10


def run_trials(
    sweep: Sweep,
    *,
    concurrency: int,
    retries: int,
    check_stop: Callable[[], None],
    own_cluster: bool = False,
    worker: Callable[..., None] = run_trial,
) -> None:
    """Run trials until the sweep has no more; begins its progress, and ends it where the sweep is stopped or fails.

    ``check_stop`` is called all the time, and what it raises ends the sweep; ``own_cluster``: no other process uses the
    cluster. ``worker(config, job=...)`` does what the sweep hands out. Raises UserError where the set-up could not be
    done.
    """
    resources = sweep.job.resources
    sweep.progress.begin()
    try:
        while True:
            tuner: Any = tune.Tuner(
                tune.with_resources(
                    tune.with_parameters(worker, job=sweep.job), {"cpu": resources.cpu, "gpu": resources.gpu}
                ),
                tune_config=tune.TuneConfig(
                    search_alg=_SweepSearcher(sweep),
                    num_samples=-1,
                    max_concurrent_trials=concurrency,
                    reuse_actors=True,
                    trial_dirname_creator=lambda trial: str(trial.trial_id),
                ),
                run_config=tune.RunConfig(
                    name="tune",
                    storage_path=f"{sweep.job.folder}/ray",
                    verbose=0,
                    failure_config=tune.FailureConfig(max_failures=retries),
                    callbacks=[_Watch(sweep, check_stop, own_cluster)],
                ),
            )
            tuner.fit()
            if not sweep.has_more:  # as returned by a trial after Ray Tune was told that there are no more
                break
        if sweep.refusal is not None:
            raise sweep.refusal
    except (Stopped, KeyboardInterrupt):
        sweep.progress.end("stopped")
        raise
    except UserError:
        sweep.progress.end("failed")
        raise
    finally:
        sweep.store.folder.child("ray").remove()


class _SweepSearcher(Searcher):
    """A sweep as Ray Tune sees it."""

    def __init__(self, sweep: Sweep) -> None:
        super().__init__(metric=RESULT, mode="max")
        self._sweep = sweep

    def suggest(self, trial_id: str) -> Any:
        found = self._sweep.next_trial(trial_id)
        return Searcher.FINISHED if found is False else found

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self._sweep.receive(trial_id, from_json(result[RESULT]))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial is over. Where it died for good, the callback below learns why."""
        if result and RESULT in result and not error:
            self.on_trial_result(trial_id, result)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a fresh searcher is made at every start."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: the Tuner pickles its searcher to restore it one day, which we never do."""
        return {}


class _Watch(Callback):
    """Passes on the events that only callbacks get: time passes, trials wait, trials fail."""

    def __init__(self, sweep: Sweep, check_stop: Callable[[], None], own_cluster: bool) -> None:
        self._sweep, self._check_stop, self._own_cluster = sweep, check_stop, own_cluster
        self._next_s, self._waited = time.monotonic() + _LOOK_EVERY_S, sweep.progress.status.waiting is not None

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self._check_stop()
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + _LOOK_EVERY_S
        states = {trial.status for trial in trials}
        # On a cluster of its own nothing else occupies what trials need: one that does not run yet is starting.
        waits = not self._own_cluster and "PENDING" in states and "RUNNING" not in states
        # Seen once it may be a trial's process that is being started.
        why = why_waiting(self._sweep.job.resources) if waits and self._waited else None
        self._waited = waits
        if why != self._sweep.progress.status.waiting:
            self._sweep.progress.wait(why)

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._sweep.recovered(trial.trial_id, _reason(trial))

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        if trial.should_recover():  # Ray Tune does not retry where a reused process is lost before the trial starts
            self._sweep.returned(trial.trial_id)
        else:
            self._sweep.fail(trial.trial_id, _reason(trial))


def _reason(trial: Trial) -> str:
    """Why a trial has ended too early, from this machine's files: those in its storage are written later."""
    error = cloudpickle.loads(Path(trial.pickled_error_file).read_bytes()) if trial.pickled_error_file else None
    if isinstance(error, RayActorError):
        return "its process was lost"
    lines = Path(trial.error_file).read_text().splitlines() if trial.error_file else []
    return next((line.strip()[:500] for line in reversed(lines) if line.strip()), "the trial crashed")
