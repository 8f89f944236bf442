"""A process that is lost between two trials is the world's fault: no configuration is stored as failed for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from support.drivers import driver
from sweeper.execution.cluster import connected
from sweeper.execution.job import Job, pack_of_trial
from sweeper.execution.messages import EndedTrial, TrialsEnded
from sweeper.execution.packing import Packing
from sweeper.execution.tune import run_trials
from sweeper.execution.worker import send
from trainer.results.rows import RunResult

pytestmark = pytest.mark.slow


@pytest.mark.usefixtures("shared_cluster")
def test_a_process_that_dies_between_two_trials_fails_no_configuration(tmp_path: Path) -> None:
    def lost_after_one(config: Mapping[str, Any], job: Job) -> None:
        """Finish a pack at once, in a process that dies when Ray Tune prepares it for the next trial."""
        from ray.tune.trainable.function_trainable import FunctionTrainable  # noqa: PLC0415  (in the worker)

        FunctionTrainable.reset_config = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        for number, runs in pack_of_trial(config).items():
            results = tuple(
                RunResult(
                    run_id=run.run_id,
                    config_id=run.config_id,
                    seed=run.seed,
                    status="finished",
                    split="validation",
                    acc_task_mean_pct=50.0,
                )
                for run in runs
            )
            ended = (EndedTrial(number=number, results=results),)
            send(TrialsEnded(attempt="a", pack="none", ended=ended, training=False))

    own = driver(tmp_path, packing=Packing(1), trials=4)
    with connected(None):
        run_trials(
            own.sweep,
            concurrency=1,
            retries=2,
            check_stop=lambda: None,
            why_waiting=lambda: None,
            worker=lost_after_one,
        )
    rows = own.store.read(["trial", "status", "error"]).to_pylist()
    assert {(row["trial"], row["status"]) for row in rows} == {(trial, "finished") for trial in range(4)}, rows
