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

from sweeper.execution.job import RESULT
from sweeper.execution.messages import from_json
from sweeper.execution.sweep import Sweep
from sweeper.execution.worker import run_trial

_LOOK_EVERY_S = 10


def run_trials(
    sweep: Sweep,
    *,
    concurrency: int,
    retries: int,
    check_stop: Callable[[], None],
    why_waiting: Callable[[], str | None],
    worker: Callable[..., None] = run_trial,
) -> None:
    """Run trials until the sweep has no more. ``worker(config, job=...)`` does what the sweep hands out.

    ``check_stop`` is called all the time, and what it raises ends the sweep; ``why_waiting`` says what trials wait for.
    Raises UserError where the set-up could not be done.
    """
    resources = sweep.job.resources
    wants = {"cpu": resources.cpu} | ({"gpu": resources.gpu} if resources.gpu else {})

    def fit() -> None:
        tuner: Any = tune.Tuner(
            tune.with_resources(tune.with_parameters(worker, job=sweep.job), wants),
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
                callbacks=[_Watch(sweep, check_stop, why_waiting)],
            ),
        )
        tuner.fit()

    try:
        fit()
        while sweep.has_more:  # returned by a trial after Ray Tune was told that there are no more
            fit()
    finally:
        sweep.store.folder.child("ray").remove()
    if sweep.refusal is not None:
        raise sweep.refusal


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

    def __init__(self, sweep: Sweep, check_stop: Callable[[], None], why_waiting: Callable[[], str | None]) -> None:
        self._sweep, self._check_stop, self._why_waiting = sweep, check_stop, why_waiting
        self._next_s, self._waited = time.monotonic() + _LOOK_EVERY_S, sweep.progress.status.waiting is not None

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self._check_stop()
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + _LOOK_EVERY_S
        waits = any(t.status == "PENDING" for t in trials) and not any(t.status == "RUNNING" for t in trials)
        # Seen once it may be a trial's process that is being started.
        why = self._why_waiting() if waits and self._waited else None
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
    if trial.pickled_error_file and isinstance(
        cloudpickle.loads(Path(trial.pickled_error_file).read_bytes()), RayActorError
    ):
        return "its process was lost"
    lines = Path(trial.error_file).read_text().splitlines() if trial.error_file else []
    return next((line.strip()[:500] for line in reversed(lines) if line.strip()), "the trial crashed")
