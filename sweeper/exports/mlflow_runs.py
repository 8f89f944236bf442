"""A sweep as an experiment of MLflow, a run a trial."""

import os
import time
from datetime import datetime
from typing import Any

from sweeper.exports.source import Source
from sweeper.exports.trials import Trial, as_text
from trainer.errors import ConfigError
from trainer.words import format_count

_TRIAL = "cil.trial"
_STATES = {"finished": "FINISHED", "pruned": "KILLED"}
"""all others failed"""
_AT_ONCE = 1000
"""metrics of a request that MLflow takes"""


def write(source: Source, place: str) -> str:
    """Add those trials that the experiment of the sweep's name does not have yet. Raises ConfigError."""
    if "://" not in place or place.startswith("file:"):
        # MLflow refuses folders of files by default, since it only maintains them: here one was asked for.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient  # noqa: PLC0415  (needs the extra)
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    try:
        client = MlflowClient(tracking_uri=place)
        found = client.get_experiment_by_name(source.name)
        experiment = client.create_experiment(source.name) if found is None else found.experiment_id
        known = _known(client, experiment)
        new = [trial for trial in source.trials if str(trial.number) not in known]
        for trial in new:
            _write(client, experiment, trial)
    except (MlflowException, OSError) as error:
        raise ConfigError(f"{place} cannot be used: {str(error).splitlines()[0]}", field="--to") from None
    total = len(known) + len(new)
    return f"mlflow: experiment {source.name}: {format_count(len(new), 'run')} added, {total} in all"


def _known(client: Any, experiment: str) -> set[str]:
    """The numbers of the trials that were written whole: a run that is still open was cut short."""
    found, token = set(), None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        found |= {run.data.tags.get(_TRIAL) for run in page if run.info.status != "RUNNING"}
        token = page.token
        if not token:
            return found - {None}


def _write(client: Any, experiment: str, trial: Trial) -> None:
    from mlflow.entities import Metric, Param, RunTag  # noqa: PLC0415

    started, ended = _ms(trial.started_at or trial.finished_at), _ms(trial.finished_at)
    run = client.create_run(experiment, start_time=started, run_name=f"trial {trial.number}")
    final = dict(trial.metrics) | ({} if trial.value is None else {"objective": trial.value})
    values = [Metric(name, value, ended, 0) for name, value in final.items()]
    for name, by_task in {"objective": trial.objective_by_task, **trial.metrics_by_task}.items():
        values += [Metric(f"by_task/{name}", value, ended, task) for task, value in by_task.items()]
    params = [Param(name, as_text(value)) for name, value in trial.params.items()]
    tags = [RunTag(_TRIAL, str(trial.number))]
    tags += [RunTag(f"cil.{name}", as_text(value)) for name, value in trial.attributes.items() if name != "trial"]
    for start in range(0, max(len(values), 1), _AT_ONCE):
        client.log_batch(run.info.run_id, values[start : start + _AT_ONCE], params, tags)
    client.set_terminated(run.info.run_id, _STATES.get(trial.status, "FAILED"), end_time=ended)


def _ms(moment: datetime | None) -> int:
    return int(1000 * (moment.timestamp() if moment else time.time()))
