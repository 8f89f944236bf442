"""A sweep as one figure.

The panels show the objective along each dimension, the best value so far, and the accuracy after each task: for the
best and the first configuration in the search and, after a promotion, on the test images. In a search that compares
methods, each has its colour, and the accuracy after each task is that of its best configuration.

A colour is one configuration in the whole figure. Configurations that did not run to their end are crosses at the
bottom of a panel: their accuracy, over fewer tasks, compares with no other.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from statistics import fmean, stdev
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from sweeper.search.dimensions import AnyDimension, CategoricalDimension
from sweeper.search.space import Space
from sweeper.store.results import Tables, last_promotion
from sweeper.store.schema import phase_name, std_name
from trainer.errors import StoreError
from trainer.words import format_count

FIRST, BEST, OTHER = "#d95f02", "#1b6ca8", "#8c8c8c"
"""the first configuration, the best in the search, each other one"""
PROMOTED, BASE, INCUMBENT = "#1b9e77", "#7570b3", "#a6761d"
"""on the test images: the candidate that led, unless it is the best of the search, and what it is compared with"""
_COLUMNS = 4
_ABOVE = 0.03
"""of a panel's height: where the crosses are"""
_SIDE = 0.07
"""between crosses of one choice, at most"""
_TICKS = 7
"""labels of a logarithmic axis, at most"""
_LABELS = 24
"""letters of choices that fit below a panel side by side"""


@dataclass(frozen=True)
class Tried:
    """A configuration that finished."""

    trial: int
    params: Mapping[str, Any]
    value: float
    std: float
    """0 with one seed"""
    method: str


@dataclass(frozen=True)
class Ended:
    """A configuration that did not run to its end, or does not meet the constraints."""

    trial: int
    params: Mapping[str, Any]
    how: str
    """pruned, diverged, failed or infeasible"""


@dataclass(frozen=True)
class Style:
    """How a configuration is drawn."""

    tried: Sequence[Tried]
    best: Tried
    first: Tried
    ended: Sequence[Ended]
    """configurations that did not finish"""
    colors: Mapping[str, Any]
    """by method; empty if there is one"""
    led: int | None
    """trial that led the last promotion"""

    @property
    def special(self) -> dict[int, tuple[str, str]]:
        """Name and colour of the configurations that stand out, by trial, unless colours tell methods."""
        found = {} if self.led is None else {self.led: ("led on fresh seeds", PROMOTED)}
        return found | {self.first.trial: ("first", FIRST), self.best.trial: ("best", BEST)}

    def color(self, tried: Tried) -> Any:
        """Of a configuration that finished."""
        return self.colors[tried.method] if self.colors else self.special.get(tried.trial, ("", OTHER))[1]

    def marker(self, tried: Tried) -> dict[str, Any]:
        """Keyword arguments of ``Axes.plot``: the best is large, and what stands out unless colours tell methods."""
        best = tried is self.best
        if self.colors:
            look = {"ms": 8, "markeredgecolor": "black", "zorder": 3} if best else {"ms": 4, "zorder": 1}
        else:
            look = {"ms": 7, "zorder": 3 if best else 2} if tried.trial in self.special else {"ms": 4, "zorder": 1}
        return {"color": self.color(tried), **look}


@dataclass(frozen=True)
class Curve:
    """Accuracy after each task: mean and standard deviation over seeds."""

    label: str
    color: str
    mean_T: Sequence[float]
    std_T: Sequence[float]
    line: str = "-"


def draw(space: Space, results: Tables, unfinished: str | None = None) -> Figure:
    """The figure of a sweep, as far as it has come. Raises StoreError if none of its configurations has finished.

    ``unfinished``: the state of a sweep that has not ended, such as ``running``, for its title.
    """
    tried, ended = _tried(space, results), _ended(space, results)
    best = (max if space.maximize else min)(tried, key=lambda t: t.value)
    first = tried[0]
    given = {name for params in [*(t.params for t in tried), *(t.params for t in ended)] for name in params}
    dimensions = {name: own for name, own in space.spec.vary.items() if name in given}
    colors = _colors(space, tried)
    promotion = last_promotion(results, space.name)
    style = Style(tried, best, first, ended, colors, None if promotion is None else promotion["trial"])
    if colors:
        shown = [(method, _best_of(space, tried, method), color) for method, color in colors.items()]
    else:
        shown = [("best", best, BEST)] if first is best else [("first", first, FIRST), ("best", best, BEST)]
    where = "sweep = $sweep AND trial = $trial"
    searched = [
        _curve(f"{which} (trial {t.trial})", color, results, space, where, trial=t.trial) for which, t, color in shown
    ]
    promoted = [] if promotion is None else _promotion_curves(space, results, style, promotion)
    panels = len(dimensions) + 2 + bool(promoted)
    rows = -(-panels // _COLUMNS)
    columns = -(-panels // rows)
    drawn = Figure(figsize=(3.4 * columns, 3.1 * rows), layout="constrained")
    axes = iter(drawn.subplots(rows, columns, squeeze=False).flat)
    for name, dimension in dimensions.items():
        _dimension(next(axes), name, dimension, tried, style)
    _best_so_far(next(axes), tried, style, maximize=space.maximize)
    metric = space.spec.objective.metric
    for axis in drawn.axes[: len(dimensions) + 1]:
        axis.set_ylabel("ACC, %" if metric == "acc_task_mean_pct" else f"{metric.removesuffix('_pct')}, %")
    _tasks(next(axes), "the search: validation images", searched)
    if promoted:
        _tasks(next(axes), "fresh seeds: test images", promoted)
    for unused in axes:
        unused.remove()
    for axis in drawn.axes[len(dimensions) :]:
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.legend(fontsize=8, frameon=False)
    for axis in drawn.axes:
        axis.grid(color="0.92", linewidth=0.8)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    done = len(tried) + len(ended)
    if unfinished is None:
        start = f"{space.name}: {format_count(done, 'configuration')}"
    else:
        start = f"{space.name}, {unfinished}: {done} of {format_count(space.spec.trials, 'configuration')}"
    drawn.suptitle(f"{start} x {space.spec.repeated}{_endings(tried, ended)}", fontsize=11)
    return drawn


def _tried(space: Space, results: Tables) -> list[Tried]:
    metric = space.spec.objective.metric
    rows = results.sql(
        f"SELECT trial, params_json, method_name, {metric} AS value, {std_name(metric)} AS std FROM seeds "
        f"WHERE sweep = $sweep AND status = 'finished' AND feasible AND {metric} IS NOT NULL ORDER BY trial",
        sweep=space.name,
    ).rows()
    if not rows:
        raise StoreError(f"{space.file}: nothing to draw: no configuration {space.goals.reached}")
    return [
        Tried(r["trial"], json.loads(r["params_json"]), r["value"], r["std"] or 0.0, r["method_name"]) for r in rows
    ]


def _ended(space: Space, results: Tables) -> list[Ended]:
    rows = results.sql(
        "SELECT trial, params_json, if(feasible, status, 'infeasible') AS status FROM seeds "
        "WHERE sweep = $sweep AND (status <> 'finished' OR NOT feasible) ORDER BY trial",
        sweep=space.name,
    ).rows()
    return [Ended(r["trial"], json.loads(r["params_json"] or "{}"), r["status"]) for r in rows]


def _endings(tried: Sequence[Tried], ended: Sequence[Ended]) -> str:
    """`` (9 finished, 3 pruned)``; empty where all finished."""
    counts = Counter(t.how for t in ended)
    said = [f"{len(tried)} finished", *(f"{count} {how}" for how, count in sorted(counts.items()))]
    return f" ({', '.join(said)})" if ended else ""


def _colors(space: Space, tried: Sequence[Tried]) -> dict[str, Any]:
    """A colour for each method that finished, where several are searched; the same whichever have finished so far."""
    methods, done = space.methods(), {t.method for t in tried}
    palette = colormaps["tab10" if len(methods) <= 10 else "tab20"]
    return {m: palette(i % palette.N) for i, m in enumerate(methods) if m in done} if len(methods) > 1 else {}


def _best_of(space: Space, tried: Sequence[Tried], method: str) -> Tried:
    return (max if space.maximize else min)((t for t in tried if t.method == method), key=lambda t: t.value)


def _promotion_curves(space: Space, results: Tables, style: Style, row: Mapping[str, Any]) -> list[Curve]:
    """Curves of a promotion: the candidate that led, the incumbent and the base, as far as they are stored."""
    base, trial = space.base_on_test(worlds=bool(row["worlds"])).config_id, row["trial"]
    wanted = {base: ("the sweep's base", BASE, "--"), row["incumbent_config_id"]: ("incumbent", INCUMBENT, ":")}
    led = next((t for t in style.tried if t.trial == trial), None)
    wanted[row["config_id"]] = (f"trial {trial}", PROMOTED if led is None else style.color(led), "-")
    curves = []
    for config_id, (label, color, line) in wanted.items():
        where = (
            "sweep = $sweep || '-promotion' AND config_id = $config_id AND seed IN (SELECT unnest($seeds)) "
            "AND ($worlds IS NULL OR world IN (SELECT unnest($worlds)))"
        )
        of = {"config_id": config_id, "seeds": row["seeds"], "worlds": row["worlds"]}
        curve = _curve(label, color, results, space, where, **of)
        curves += [replace(curve, line=line)] if curve.mean_T else []
    return curves


def _curve(label: str, color: str, results: Tables, space: Space, where: str, **parameters: Any) -> Curve:
    """Accuracy on all classes seen, weighted as in the objective."""
    column = phase_name(space.spec.objective.metric)
    rows = results.sql(
        "SELECT list(value ORDER BY world, seed) AS value_S FROM "
        f"(SELECT DISTINCT task, world, seed, {column} AS value FROM tasks WHERE {where}) GROUP BY task ORDER BY task",
        sweep=space.name,
        **parameters,
    ).rows()
    values = [[v for v in row["value_S"] if v is not None] or [math.nan] for row in rows]  # a gap: nothing measures it
    return Curve(label, color, [fmean(v) for v in values], [stdev(v) if len(v) > 1 else 0.0 for v in values])


def _dimension(axis: Axes, name: str, dimension: AnyDimension, tried: Sequence[Tried], style: Style) -> None:
    """Draw the objective over one dimension; configurations without that dimension are omitted."""
    shown = [t for t in tried if name in t.params]
    ended = [t for t in style.ended if name in t.params]
    values = {t.trial: t.params[name] for t in shown} | {t.trial: t.params[name] for t in ended}
    if isinstance(dimension, CategoricalDimension):
        choices = [str(choice) for choice in dimension.choices]
        place = {trial: choices.index(str(value)) for trial, value in values.items()}
        long = len("".join(choices)) > _LABELS
        axis.set_xticks(range(len(choices)), choices, rotation=30 if long else 0, ha="right" if long else "center")
        axis.set_xlim(-0.5, len(choices) - 0.5)
    else:
        place = values
        if dimension.log:
            axis.set_xscale("log")
            ticks = _log_ticks(dimension.low, dimension.high)
            axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axis.xaxis.set_minor_formatter(NullFormatter())
    for t in shown:
        axis.errorbar(place[t.trial], t.value, t.std, fmt="o", elinewidth=0.8, **style.marker(t))
    # Each is seen, though those of one choice have one place.
    aside = min(_SIDE, 0.9 / (len(ended) + 1)) if isinstance(dimension, CategoricalDimension) else 0.0
    before, places = Counter[float](), list[tuple[float, Ended]]()
    for cross in ended:
        own = place[cross.trial]
        places.append((own + aside * before[own], cross))
        before[own] += 1
    _at_the_bottom(axis, places)
    axis.set_xlabel(name)


def _log_ticks(low: float, high: float) -> list[float]:
    """Round numbers from ``low`` to ``high``, so few that their labels stand side by side below a panel."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 2, 5), (1, 3), (1,)):
        ticks = [tick for power in powers for digit in digits if low <= (tick := digit * 10.0**power) <= high]
        if 2 <= len(ticks) <= _TICKS:
            return ticks
    if ticks:  # of too many decades
        return ticks[:: -(-len(ticks) // _TICKS)]
    return [float(tick) for tick in MaxNLocator(3).tick_values(low, high) if low <= tick <= high]


def _at_the_bottom(axis: Axes, places: Sequence[tuple[float, Ended]]) -> None:
    """A cross for each configuration that did not finish, with a label for each way to end."""
    by_end: dict[str, list[float]] = {}
    for place, ended in places:
        by_end.setdefault(ended.how, []).append(place)
    for how, own in sorted(by_end.items()):
        look: dict[str, Any] = {"color": OTHER, "ms": 5, "mew": 1, "clip_on": False, "label": how, "zorder": 1}
        marker = "x" if how == "pruned" else "+"
        axis.plot(own, [_ABOVE] * len(own), marker, transform=axis.get_xaxis_transform(), **look)


def _best_so_far(axis: Axes, tried: Sequence[Tried], style: Style, *, maximize: bool) -> None:
    numbers, values = [t.trial for t in tried], [t.value for t in tried]
    grown = list(accumulate(values, max if maximize else min))
    axis.step(numbers, grown, where="post", color="0.3", lw=1, label="best so far")
    labels = {} if style.colors else {trial: name for trial, (name, _) in style.special.items()}
    if not style.colors:
        axis.plot([], [], "o", color=OTHER, ms=4, label="each")
    for t in tried:
        axis.plot([t.trial], [t.value], "o", label=labels.get(t.trial), **style.marker(t))
    _at_the_bottom(axis, [(t.trial, t) for t in style.ended])
    axis.set_xlabel("trial")


def _tasks(axis: Axes, title: str, curves: Sequence[Curve]) -> None:
    for curve in curves:
        numbers = range(1, len(curve.mean_T) + 1)
        look: dict[str, Any] = {"fmt": f"o{curve.line}", "ms": 4, "capsize": 2}
        axis.errorbar(numbers, curve.mean_T, curve.std_T, color=curve.color, label=curve.label, **look)
    axis.set_title(title, fontsize=9)
    axis.set_xlabel("after task")
    axis.set_ylabel("accuracy on all classes seen, %")
