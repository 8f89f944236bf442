"""The Optuna study of a sweep: ask and tell, restored from stored trials at every start."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import optuna
from optuna.trial import Trial, TrialState

from sweeper.search import samplers
from sweeper.search.front import Front, FrontPoint
from sweeper.search.outcome import Outcome
from sweeper.search.space import Params, Space
from trainer.config.run_config import RunConfig


@dataclass(frozen=True)
class Suggestion:
    """A configuration to train: a trial of a study, or one that was given."""

    number: int
    params: Params
    configs: Sequence[RunConfig]
    """one a seed"""
    label: str = ""
    """name of a given configuration"""


@dataclass(frozen=True)
class StoredTrial:
    """A trial as the store holds it."""

    params: Params
    outcome: Outcome
    steps: Mapping[int, float] = field(default_factory=dict)
    """objective after each task, mean over seeds"""
    runs: Sequence[Mapping[str, Any]] = ()
    """device_s and saved_s of each, among others"""


def objective_by_task(runs: Iterable[tuple[str, Sequence[float | None]]], first_task: int = 0) -> dict[int, float]:
    """The objective after each task from ``first_task`` on, mean over seeds, as a study is told it in training.

    ``runs``: a status, and the metric after each task, by seed. A study is told nothing after a task in which a seed
    has diverged, or has no value.
    """
    values: dict[int, list[float]] = {}
    for status, value_T in runs:
        for task, value in enumerate(value_T):
            lost = status == "diverged" and task + 1 == len(value_T)
            values.setdefault(task, []).append(math.nan if value is None or lost else value)
    means = {task: fmean(own) for task, own in sorted(values.items()) if task >= first_task}
    return {task: mean for task, mean in means.items() if math.isfinite(mean)}


class Study:
    """An Optuna study of one sweep, addressed by trial number."""

    def __init__(self, space: Space) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        spec = space.spec
        self.space = space
        self.trials = spec.trials
        """total number of configurations"""
        self._given: dict[int, Params] = dict(enumerate(spec.first))
        """values that are not the sampler's, by number"""
        self._study = optuna.create_study(
            study_name=space.name,  # Hyperband assigns trials to brackets by it
            directions=[objective.direction for objective in spec.wanted],
            pruner=samplers.pruner(spec.pruning) if spec.pruning else optuna.pruners.NopPruner(),
        )
        # Kept here because Optuna copies all trials whenever it is queried.
        self._suggested, self._handed_out = 0, 0
        self.front = Front(spec.wanted) if len(spec.wanted) > 1 else None
        """of several objectives; None with one"""
        self._best: tuple[int, Params, float] | None = None
        self._live: dict[int, Trial] = {}
        self._waiting: list[Suggestion] = []

    def restore(
        self,
        stored: Mapping[int, StoredTrial],
        suggested: Mapping[int, Params],
        added: Mapping[int, Params] | None = None,
    ) -> None:
        """Bring the study to where it was, from stored trials and from those that were suggested and have not ended.

        ``added``: the values that were given for configurations added by hand, by number (default: there are none).

        Every trial is asked and told again, in the order of numbers, because pruners and some samplers build up state
        in this way. Trials that have not ended are suggested again under their own numbers; a number of which nothing
        is known gets a new suggestion.
        """
        self._given |= added or {}
        for number in range(max([*stored, *suggested], default=-1) + 1):
            ended = stored.get(number)
            if ended is None:
                self._waiting.append(self._suggestion(number, suggested.get(number)))
                continue
            self._handed_out += 1
            self._ask(number, ended.params)
            for task, value in sorted(ended.steps.items()):
                self.report(number, task, value)
            self.tell(number, ended.outcome)

    def peek(self) -> Suggestion | None:
        """The suggestion that ``ask`` will return next."""
        found = self.ask()
        if found is not None:
            self._handed_out -= 1
            self._waiting.insert(0, found)
        return found

    def ask(self) -> Suggestion | None:
        """The next configuration; None when those that have ended and those in training are as many as the trials."""
        if not self.left:
            return None
        self._handed_out += 1
        return self._waiting.pop(0) if self._waiting else self._suggestion(self._suggested)

    @property
    def left(self) -> int:
        """How many configurations ``ask`` has still to return."""
        return max(0, self.trials - self._handed_out)

    @property
    def handed_out(self) -> int:
        """Configurations that have ended or are in training."""
        return self._handed_out

    @property
    def next_number(self) -> int:
        """The number that ``add`` gives: behind what is suggested and what was given already."""
        return max(self._suggested, 1 + max(self._given, default=-1))

    def add(self, given: Params) -> None:
        """Suggest a configuration with these values under ``next_number``. The trials become one more.

        The sampler suggests the values of the other dimensions, once it is asked for that number.
        """
        self._given[self.next_number] = dict(given)
        self.trials += 1

    def report(self, number: int, task: int, value: float) -> bool:
        """Note the objective after a task. Returns whether to prune the configuration."""
        trial = self._live[number]
        if not math.isfinite(value) or self.front is not None:  # Optuna takes no steps of several objectives
            return False
        trial.report(value, task + 1)
        return bool(trial.should_prune())

    def tell(self, number: int, outcome: Outcome) -> None:
        """Note that a configuration has ended."""
        trial = self._live.pop(number)
        self._study.sampler = samplers.for_telling(self.space.spec.search, number)
        if outcome.value is not None:
            for name, past in outcome.violations.items():
                trial.set_constraint(name, past)
            values = [outcome.value, *outcome.others.values()]
            self._study.tell(trial, values)
            if self.front is not None:
                self.front.add(FrontPoint(number, dict(trial.params), values), feasible=not outcome.violated)
            if outcome.violated:
                return
            if self._best is None or self._order(number, outcome.value) < self._order(self._best[0], self._best[2]):
                self._best = number, dict(trial.params), outcome.value
        else:
            self._study.tell(trial, state=TrialState.PRUNED if outcome.status == "pruned" else TrialState.FAIL)

    def best(self) -> tuple[int, Params, float] | None:
        """Number, parameters and first objective of the best finished configuration that meets the constraints.

        Of equal ones, the first.
        """
        return self._best

    def _order(self, number: int, value: float) -> tuple[float, int]:
        """A key by which the best trial comes first."""
        return (-value if self.space.maximize else value), number

    def _suggestion(self, number: int, known: Params | None = None) -> Suggestion:
        params = self._ask(number, known)
        return Suggestion(number, params, self.space.configs(params))

    def _ask(self, number: int, known: Params | None) -> Params:
        """Begin a trial; ``known``: the parameters that it was suggested with before. Returns its parameters."""
        spec = self.space.spec
        stated = self._given.get(number, {})
        given = stated if known is None else known
        if given:
            self._study.enqueue_trial(dict(given))
        self._study.sampler = samplers.sampler(spec.search, number)
        trial = self._live[number] = self._study.ask()
        self._suggested += 1
        if known is not None and known.keys() - stated.keys():  # a point that was given whole asked no sampler
            samplers.note_past(spec.search, self._study, number)
        params: Params = {}
        for name, dimension in spec.vary.items():
            if dimension.active(params):
                params[name] = dimension.suggest(trial, name)
        return params
