"""Rehearse a search with made-up results, so that what would fail after an hour fails before anything starts."""

import inspect
import warnings
from typing import Any

import optuna

from sweeper.search import samplers
from sweeper.search.outcome import Outcome
from sweeper.search.space import Space
from sweeper.search.study import Study

_TRIALS, _TASKS, _FAILS = 8, 4, 3

_SOON = {"n_startup_trials": 2, "population_size": 3, "popsize": 3, "n_warmup_steps": 0, "patience": 1}
"""options by which samplers and pruners wait with what they are there for, and for how long at most in a rehearsal"""


def rehearse(space: Space) -> None:
    """Search this very space for a few trials with made-up results: past what the sampler and the pruner wait for.

    Raises ConfigError that says what Optuna raises, or which package is missing.
    """
    spec = space.spec
    points = tuple({tuple(sorted(point)): point for point in spec.first}.values())  # one of each set of dimensions
    fewer = {"trials": min(spec.trials, len(points) + _TRIALS), "first": points, "search": _soon(spec.search)}
    update = fewer | {"pruning": spec.pruning and _soon(spec.pruning)}
    study = Study(Space(space.file, spec.model_copy(update=update), space.base))
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # the search itself warns
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            while _rehearse_trial(study, space):
                pass
    finally:
        optuna.logging.set_verbosity(verbosity)


def _rehearse_trial(study: Study, space: Space) -> bool:
    """Returns False after the last one."""
    search = space.spec.search
    with samplers.in_one_line(search, space.file):
        suggestion = study.ask()
    if suggestion is None:
        return False
    number = suggestion.number
    value_T = [50 + 7 * number % 5 + task * (1 if number % 2 else -1) for task in range(_TASKS)]
    with samplers.in_one_line(space.spec.pruning or search, space.file):
        pruned = any(study.report(number, task, value) for task, value in enumerate(value_T))
    with samplers.in_one_line(search, space.file):
        if number == _FAILS:
            study.tell(number, Outcome("failed", None))
        elif pruned and number % 2:
            study.tell(number, Outcome("pruned", None))
        else:
            violations = dict.fromkeys(space.goals.bounds, number % 3 - 1.0)
            others = {metric: float(number**2 % 7) for metric in space.goals.others}
            study.tell(number, Outcome("finished", value_T[-1], others=others, violations=violations))
    return True


def _soon(config: Any) -> Any:
    """The same sampler or pruner, that waits less."""
    parameters = inspect.signature(config.find()).parameters
    options = dict(config.options)
    for name, few in _SOON.items():
        value = options.get(name, parameters[name].default) if name in parameters else 0
        if value is None or (isinstance(value, int) and value > few):
            options[name] = few
    return config.model_copy(update={"options": options})
