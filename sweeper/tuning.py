"""A driver's trials through Ray Tune, which places them, retries what is lost and keeps processes for reuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray import tune

from sweeper.driver import Driver, Watch


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
            callbacks=[Watch(driver, check_stop, why_waiting)],
        ),
    )
    try:
        tuner.fit()
    finally:
        driver.store.folder.child("ray").remove()
    if driver.refusal is not None:
        raise driver.refusal
