"""A driver's trials through Ray Tune, which places them, retries what is lost and keeps processes for reuse."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import cloudpickle, tune
from ray.exceptions import RayActorError
from ray.tune import Callback
from ray.tune.experiment import Trial

from sweeper.execution.sweep import Driver


def fit(
    driver: Driver,
    trainable: Callable[..., None],
    concurrency: int,
    check_stop: Callable[[], None],
    why_waiting: Callable[[], str | None],
) -> None:
    """Run trials until the driver asks for no more. ``trainable(config, job=...)`` does what the driver suggests.

    ``check_stop`` is called all the time, and what it raises ends the sweep; ``why_waiting`` says what trials wait for.
    Raises UserError where the preparation could not be done.
    """
    resources = driver.space.spec.resources
    wants = {"cpu": resources.cpu} | ({"gpu": resources.gpu} if resources.gpu else {})
    tuner: Any = tune.Tuner(
        tune.with_resources(tune.with_parameters(trainable, job=driver.job), wants),
        tune_config=tune.TuneConfig(
            search_alg=driver,
            num_samples=-1,
            max_concurrent_trials=concurrency,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=f"{driver.job.folder}/ray",
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=driver.space.spec.retries),
            callbacks=[_Watch(driver, check_stop, why_waiting)],
        ),
    )
    try:
        tuner.fit()
    finally:
        driver.store.folder.child("ray").remove()
    if driver.refusal is not None:
        raise driver.refusal


class _Watch(Callback):
    """What Ray Tune tells callbacks but not searchers: that time passes, that trials wait, why they failed."""

    def __init__(self, driver: Driver, check_stop: Callable[[], None], why_waiting: Callable[[], str | None]) -> None:
        """``check_stop`` raises when the sweep is to stop; ``why_waiting`` says what trials wait for."""
        self._driver, self._check_stop, self._why_waiting = driver, check_stop, why_waiting
        self._next_s, self._waited = time.monotonic() + 10, driver.status.waiting is not None

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self._check_stop()
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + 10
        waits = any(t.status == "PENDING" for t in trials) and not any(t.status == "RUNNING" for t in trials)
        # Seen once it may be a trial's process that is being started.
        why = self._why_waiting() if waits and self._waited else None
        self._waited = waits
        if why != self._driver.status.waiting:
            self._driver.waits(why)

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._driver.recovered(trial.trial_id, _reason(trial))

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._driver.fail(trial.trial_id, _reason(trial))


def _reason(trial: Trial) -> str:
    """Why a trial has ended too early, from this machine's files: those in its storage are written later."""
    if trial.pickled_error_file and isinstance(
        cloudpickle.loads(Path(trial.pickled_error_file).read_bytes()), RayActorError
    ):
        return "its process was lost"
    lines = Path(trial.error_file).read_text().splitlines() if trial.error_file else []
    return next((line.strip()[:500] for line in reversed(lines) if line.strip()), "the trial crashed")
