"""Adapt a sweep to Ray Tune, which places trials and reuses their processes."""

import contextlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import ray
from ray import cloudpickle, tune
from ray.air._internal import usage
from ray.exceptions import RayActorError, RayTaskError
from ray.tune import Callback, TuneError
from ray.tune.execution import class_cache
from ray.tune.experiment import Trial
from ray.tune.search import Searcher
from ray.tune.trainable import wrap_function

from sweeper.execution.cluster import why_waiting
from sweeper.execution.job import RESULT, Job
from sweeper.execution.messages import from_json
from sweeper.execution.notice import Notice
from sweeper.execution.places import Places
from sweeper.execution.scratch import scratch_folder
from sweeper.execution.signals import Stopped
from sweeper.execution.sweep import WAIT, Cause, Sweep
from sweeper.execution.worker import CrashError, run_trial
from trainer.errors import StoreError, UserError

_LOOK_EVERY_S = 10


def run_trials(
    sweep: Sweep,
    *,
    places: Places,
    check_stop: Callable[[], None],
    worker: Callable[..., None] = run_trial,
) -> None:
    """Run trials until the sweep has no more; begins its progress, and ends it where the sweep is stopped or fails.

    Trials run in ``places``, as many as there are at each time. ``check_stop`` is called all the time, and what it
    raises ends the sweep. ``worker(config, job=...)`` does what the sweep hands out. Raises the sweep's refusal.
    """

    def check() -> None:
        check_stop()
        if sweep.refusal is not None:
            raise Stopped
        changed = places.follow(lambda: sweep.wanted)
        if changed is not None:
            sweep.progress.say(changed)

    # Ray Tune would hand the driver's credentials to each trial in its runtime environment, which Ray logs.
    class_cache.ENV_VARS_TO_PROPAGATE.difference_update(
        [name for name in class_cache.ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")]
    )
    # To count known callbacks it would import MLflow and W&B where they are installed, which takes a second.
    usage.tag_callbacks = lambda callbacks: False
    sweep.progress.begin()
    try:
        # What Ray Tune would go on from after a crash is of no use: the store does that.
        with scratch_folder("tune-", tempfile.gettempdir()) as scratch:
            tuner: Any = tune.Tuner(
                _trainable(worker, sweep.job),
                tune_config=tune.TuneConfig(
                    search_alg=_SweepSearcher(sweep, places, check),
                    num_samples=-1,
                    reuse_actors=True,
                    trial_dirname_creator=lambda trial: str(trial.trial_id),
                ),
                run_config=tune.RunConfig(
                    name="tune",
                    storage_path=scratch,
                    verbose=0,
                    # The sweep hands out again what was cut short: Ray Tune counts a lost node like an exception.
                    failure_config=tune.FailureConfig(max_failures=0),
                    callbacks=[_Watch(sweep, check, places.own_cluster)],
                ),
            )
            tuner.fit()
        sweep.end()
    except (Stopped, KeyboardInterrupt):
        if sweep.refusal is None:
            sweep.progress.end("stopped")
            raise
    except TuneError as error:  # made of what the sweep raised
        if not isinstance(error.__context__, UserError | OSError):
            raise
        _end(sweep, error.__context__)
    except (UserError, OSError) as error:
        _end(sweep, error)
    finally:
        with contextlib.suppress(Exception):  # a cluster that is lost keeps nothing
            places.withdraw()
    if sweep.refusal is not None:
        _end(sweep, sweep.refusal)


def _trainable(worker: Callable[..., None], job: Job) -> type:
    """The class whose processes run trials: Ray Tune's own around a function, but that they notice when they end."""
    resources = {"cpu": job.resources.cpu, "gpu": job.resources.gpu}

    class Trial(wrap_function(tune.with_resources(tune.with_parameters(worker, job=job), resources))):  # type: ignore[misc]
        def setup(self, config: dict[str, Any]) -> None:
            """Once in a process, in its main thread; the function runs in another one, which may not handle signals."""
            super().setup(config)
            Notice.listen()

    return Trial


def _end(sweep: Sweep, error: Exception) -> NoReturn:
    """Say in the status file, where that can be written, that the launch is over, and raise its error."""
    with contextlib.suppress(StoreError):
        sweep.progress.end("stopped" if isinstance(error, StoreError | OSError) else "failed")
    raise error


class _SweepSearcher(Searcher):
    """A sweep as Ray Tune sees it."""

    def __init__(self, sweep: Sweep, places: Places, check: Callable[[], None]) -> None:
        super().__init__(metric=RESULT, mode="max")
        self._sweep, self._places, self._check = sweep, places, check

    def suggest(self, trial_id: str) -> Any:
        self._check()  # as long as no trial runs, Ray Tune does nothing but ask for one
        if self._sweep.training >= self._places.now:
            return WAIT
        found = self._sweep.next_trial(trial_id)
        return Searcher.FINISHED if found is False else found

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self._sweep.receive(trial_id, from_json(result[RESULT]))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial is over. Where it was cut short, the callback below learns why."""
        if error:
            return
        if result and RESULT in result:
            self.on_trial_result(trial_id, result)
        self._sweep.interrupted(trial_id, "code", "its process ended without a result")

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a fresh searcher is made at every start."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: the Tuner pickles its searcher to restore it one day, which we never do."""
        return {}


class _Watch(Callback):
    """Passes on the events that only callbacks get: time passes, trials wait, trials fail."""

    def __init__(self, sweep: Sweep, check: Callable[[], None], own_cluster: bool) -> None:
        self._sweep, self._check, self._own_cluster = sweep, check, own_cluster
        self._dead: dict[str, set[str]] = {}
        """nodes that were dead when a trial started"""
        self._next_s, self._waited = time.monotonic() + _LOOK_EVERY_S, sweep.progress.status.waiting is not None

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self._check()
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

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._dead[trial.trial_id] = _dead_nodes()

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        before = self._dead.pop(trial.trial_id, set())
        cause, why = _reason(trial)
        if cause == "process" and _dead_nodes() > before:
            cause, why = "node", "its node was lost"
        self._sweep.interrupted(trial.trial_id, cause, why)


def _dead_nodes() -> set[str]:
    return {node["NodeID"] for node in ray.nodes() if not node["Alive"]}


def _reason(trial: Trial) -> tuple[Cause, str]:
    """Why a trial has ended too early, from this machine's files: those in its storage are written later."""
    error = cloudpickle.loads(Path(trial.pickled_error_file).read_bytes()) if trial.pickled_error_file else None
    if isinstance(error, RayActorError):
        return "process", "its process was lost"
    if isinstance(error, RayTaskError) and isinstance(error.cause, CrashError):
        return "code", str(error.cause)
    lines = Path(trial.error_file).read_text().splitlines() if trial.error_file else []
    return "world", next((line.strip()[:500] for line in reversed(lines) if line.strip()), "the trial crashed")
