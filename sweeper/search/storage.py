"""A study in one of Optuna's own storages, written once for other programs to read: no search uses it."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from sweeper.search.space import Params, Space
from trainer.errors import ConfigError

_SWEEP = "cil_sweep"
"""the user attribute of a study that was exported here"""
_NUMBER = "trial"
"""the user attribute of a trial with its number in the sweep: Optuna numbers trials by the order of their arrival"""
_STATES = {"finished": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
"""all others failed"""


@dataclass(frozen=True)
class FinishedTrial:
    """A trial that has ended, in Optuna's terms."""

    params: Params
    status: str
    values: Sequence[float] | None
    """of all objectives"""
    steps: Mapping[int, float]
    """the objective after each task, from task 0"""
    violations: Mapping[str, float]
    """how far it is past the bound of each constraint, by its name"""
    attributes: Mapping[str, Any]
    """plain values; ``trial`` is its number in the sweep"""
    started_at: datetime | None
    finished_at: datetime | None


def add_trials(space: Space, url: str, trials: Sequence[FinishedTrial]) -> tuple[int, int]:
    """Add those trials that the study of the sweep's name does not have yet. Returns how many, and how many it has.

    The study is made where it is missing. Raises ConfigError for a storage that cannot be used, and for a study of
    that name that is not this sweep's.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    directions = [objective.direction for objective in space.spec.wanted]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna on steps that do not reach `high`
            study = optuna.create_study(storage=url, study_name=space.name, directions=directions, load_if_exists=True)
            here = study.get_trials(deepcopy=False)
            if study.user_attrs.get(_SWEEP) != space.name:
                if here or study.user_attrs:
                    problem = f"{url} has another study named {space.name!r}: choose another storage"
                    raise ConfigError(problem, field="--to")
                study.set_user_attr(_SWEEP, space.name)
                study.set_metric_names([objective.metric for objective in space.spec.wanted])
            known = {trial.user_attrs.get(_NUMBER) for trial in here}
            new = [_frozen(space, trial) for trial in trials if trial.attributes[_NUMBER] not in known]
            study.add_trials(new)
    except (SQLAlchemyError, ImportError, ValueError, optuna.exceptions.OptunaError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{url} cannot be used: {reason}", field="--to") from None
    return len(new), len(here) + len(new)


def _frozen(space: Space, trial: FinishedTrial) -> FrozenTrial:
    state = _STATES.get(trial.status, TrialState.FAIL)
    if state == TrialState.COMPLETE and trial.values is None:
        state = TrialState.FAIL
    vary = space.spec.vary
    made = optuna.trial.create_trial(
        state=state,
        values=trial.values if state == TrialState.COMPLETE else None,
        params=dict(trial.params),
        distributions={name: vary[name].distribution() for name in trial.params},
        user_attrs=dict(trial.attributes),
        constraints=dict(trial.violations) if state == TrialState.COMPLETE else None,
        intermediate_values={task + 1: value for task, value in trial.steps.items()},
    )
    now = datetime.now(UTC)
    made.datetime_start = _local(trial.started_at or trial.finished_at or now)
    made.datetime_complete = _local(trial.finished_at or now)
    return made


def _local(time: datetime) -> datetime:
    """Without its zone, in this machine's, as Optuna writes times."""
    return time.astimezone().replace(tzinfo=None)
