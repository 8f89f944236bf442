"""The Optuna study of a sweep: ask and tell, rebuilt from the stored rows at every start."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import optuna
from optuna.trial import Trial, TrialState

from sweeper.search import samplers
from sweeper.search.space import Params, Space


@dataclass(frozen=True)
class Asked:
    """A configuration that the search wants tried."""

    number: int
    params: Params


@dataclass(frozen=True)
class Past:
    """A configuration as the store holds it."""

    number: int
    params: Params
    value: float | None
    """objective, mean over seeds; None where it failed or diverged"""
    status: str
    """finished, pruned, diverged or failed"""
    steps: Mapping[int, float] = field(default_factory=dict)
    """objective after each task, mean over seeds"""


class Search:
    """Asks and tells of one sweep, by trial number."""

    def __init__(self, space: Space) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        spec = space.spec
        self.space = space
        self._prunes = spec.pruning is not None
        self._study = optuna.create_study(
            direction=spec.objective.direction,
            pruner=samplers.pruner(spec.pruning) if spec.pruning else optuna.pruners.NopPruner(),
        )
        # Kept here, as the study copies all its trials for every question about them.
        self._asked = 0
        self._best: tuple[int, Params, float] | None = None
        self._live: dict[int, Trial] = {}
        self._waiting: list[Asked] = []

    def replay(self, asked: Sequence[Asked], past: Iterable[Past]) -> None:
        """Bring the study to where the stored rows say it was.

        Every configuration is asked and told again, in order: pruners and some samplers keep notes on trials that
        only arise so. Those that have not ended are waiting to be tried, under their own number.
        """
        spec = self.space.spec
        ended = {p.number: p for p in past}
        for known in sorted(asked, key=lambda a: a.number):
            self._study.enqueue_trial(known.params)
            trial = self._study.ask()
            self._asked += 1
            samplers.note_past(spec.search, self._study, known.number)
            self._live[known.number] = trial
            params = self._suggest(trial)
            found = ended.get(known.number)
            if found is None:
                self._waiting.append(Asked(known.number, params))
                continue
            for task, value in sorted(found.steps.items()):
                self.report(known.number, task, value)
            self.tell(known.number, found.status, found.value)

    def peek(self) -> Asked | None:
        """What ``ask`` will return next."""
        found = self.ask()
        if found is not None:
            self._waiting.insert(0, found)
        return found

    def ask(self) -> Asked | None:
        """The next configuration; None when all have been asked."""
        if self._waiting:
            return self._waiting.pop(0)
        number, spec = self._asked, self.space.spec
        if number >= spec.trials:
            return None
        if number < len(spec.first):
            self._study.enqueue_trial(dict(spec.first[number]))
        self._study.sampler = samplers.sampler(spec.search, number)
        trial = self._study.ask()
        self._asked += 1
        self._live[number] = trial
        return Asked(number, self._suggest(trial))

    def report(self, number: int, task: int, value: float) -> bool:
        """Note the objective after a task. Returns whether to prune the configuration."""
        trial = self._live[number]
        if not math.isfinite(value):
            return False
        trial.report(value, task + 1)
        return self._prunes and trial.should_prune()

    def tell(self, number: int, status: str, value: float | None) -> None:
        """A configuration has ended."""
        trial = self._live.pop(number)
        self._study.sampler = samplers.for_telling(self.space.spec.search, number)
        if status == "finished" and value is not None and math.isfinite(value):
            self._study.tell(trial, value)
            if self._best is None or self._order(number, value) < self._order(self._best[0], self._best[2]):
                self._best = number, dict(trial.params), value
        elif status == "pruned":
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            self._study.tell(trial, state=TrialState.FAIL)

    def best(self) -> tuple[int, Params, float] | None:
        """Number, values and objective of the best finished configuration; of equal ones, the first asked."""
        return self._best

    def _order(self, number: int, value: float) -> tuple[float, int]:
        """What the best has the least of."""
        return (value if self.space.spec.objective.direction == "minimize" else -value), number

    def _suggest(self, trial: Trial) -> Params:
        params: Params = {}
        for name, dimension in self.space.spec.vary.items():
            if dimension.active(params):
                params[name] = dimension.suggest(trial, name)
        return params
