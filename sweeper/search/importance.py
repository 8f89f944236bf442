"""How much of the objective each dimension explains: Optuna's importances, with the spread over resamples."""

import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import (
    BaseImportanceEvaluator,
    FanovaImportanceEvaluator,
    PedAnovaImportanceEvaluator,
    get_param_importances,
)
from optuna.trial import FrozenTrial, create_trial

from sweeper.search.dimensions import AnyDimension, CategoricalDimension
from sweeper.search.space import Params

LEAST = 8
"""configurations below which nothing is said"""


@dataclass(frozen=True)
class Importance:
    """The share of one dimension, by one way to measure it; the shares of all dimensions sum to 1."""

    measure: str
    dimension: str
    mean: float
    """over the resamples"""
    low: float
    """smallest of the resamples"""
    high: float
    """largest of the resamples"""
    configurations: int
    """in each resample"""
    resamples: int


@dataclass(frozen=True)
class _Measure:
    name: str
    evaluator: Callable[[int], BaseImportanceEvaluator]
    """for a seed"""
    most: int
    """configurations of a resample: the time of fANOVA grows with their square"""
    resamples: int


_MEASURES = (
    _Measure("PED-ANOVA", lambda seed: PedAnovaImportanceEvaluator(), 200, 16),
    _Measure("fANOVA", lambda seed: FanovaImportanceEvaluator(n_trees=16, max_depth=16, seed=seed), 64, 5),
)


def importances(
    tried: Sequence[tuple[Params, float]], vary: Mapping[str, AnyDimension], *, maximize: bool
) -> list[Importance]:
    """The importance of each dimension that all configurations have, by PED-ANOVA and by fANOVA.

    Each is measured on resamples of the configurations, drawn with replacement, with a fixed seed: their mean and
    range. PED-ANOVA tells what sets the best tenth apart, fANOVA what explains the variance of all. ``tried``: values
    and objective of each. Empty with fewer than ``LEAST`` configurations, fewer than two dimensions that all have, or
    one objective for all.
    """
    names = [name for name in vary if all(name in params for params, _ in tried)]
    if len(tried) < LEAST or len(names) < 2 or len({value for _, value in tried}) < 2:
        return []
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    own = {name: _distribution(name, vary[name], tried) for name in names}
    trials = [
        create_trial(params={name: params[name] for name in names}, distributions=own, value=value)
        for params, value in tried
    ]
    return [found for measure in _MEASURES for found in _measured(measure, trials, names, maximize=maximize)]


def _distribution(name: str, dimension: AnyDimension, tried: Sequence[tuple[Params, float]]) -> BaseDistribution:
    """The dimension's own range: values are compared, none is drawn, so a step is of no account."""
    if isinstance(dimension, CategoricalDimension):
        return CategoricalDistribution(dimension.choices)
    values = [params[name] for params, _ in tried]
    return FloatDistribution(min(dimension.low, *values), max(dimension.high, *values), log=dimension.log)


def _measured(
    measure: _Measure, trials: Sequence[FrozenTrial], names: Sequence[str], *, maximize: bool
) -> Iterator[Importance]:
    draw, size = random.Random(0), min(len(trials), measure.most)
    shares: dict[str, list[float]] = {name: [] for name in names}
    for seed in range(measure.resamples):
        study = optuna.create_study(direction="maximize" if maximize else "minimize")
        study.add_trials(draw.choices(trials, k=size))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PED-ANOVA is experimental in Optuna
            try:
                found = get_param_importances(study, evaluator=measure.evaluator(seed))
            except (ValueError, RuntimeError):  # a resample whose objectives are all equal
                continue
        for name in names:
            shares[name].append(float(found.get(name, 0.0)))
    for name, own in shares.items():
        if own:
            yield Importance(measure.name, name, sum(own) / len(own), min(own), max(own), size, len(own))
