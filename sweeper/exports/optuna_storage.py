"""A sweep as a study in a storage of Optuna, for optuna-dashboard and Optuna's own plots."""

from sweeper.exports.source import Source
from sweeper.search.storage import FinishedTrial, add_trials
from trainer.words import format_count


def write(source: Source, place: str) -> str:
    """Add the trials to the study with the sweep's name at the storage's URL. Raises ConfigError."""
    trials = [
        FinishedTrial(
            params=trial.params,
            status=trial.status,
            values=None if trial.value is None else [trial.value, *trial.others],
            steps=trial.objective_by_task,
            violations=trial.violations,
            attributes={**trial.attributes, **trial.metrics},
            started_at=trial.started_at,
            finished_at=trial.finished_at,
        )
        for trial in source.trials
    ]
    added, total = add_trials(source.space, place, trials)
    return f"optuna: study {source.name}: {format_count(added, 'trial')} added, {total} in all"
