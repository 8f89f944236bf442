"""A sweep as one figure: ``python -m sweeper.report SWEEP [--results DIR] [--out DIR]`` writes SWEEP.png and SWEEP.svg.

What the objective is along each dimension, how the best grew with the search, and how accuracy falls from task to
task: in the search for the best and the first configuration, and, once promotion was tried, on the test images.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sweeper.query import Results, open_results
from sweeper.store.folder import Folder
from sweeper.store.schema import std_name
from sweeper.store.sweep_file import SweepFile
from trainer.errors import StoreError, UserError, exit_code

FIRST, BEST, OTHER = "#d95f02", "#1b6ca8", "#8c8c8c"
_COLUMNS = 4


@dataclass(frozen=True)
class Tried:
    """A configuration that finished."""

    trial: int
    params: Mapping[str, Any]
    value: float
    std: float
    """0 with one seed"""


@dataclass(frozen=True)
class Curve:
    """Accuracy after each task, mean and spread over seeds."""

    label: str
    color: str
    mean_T: Sequence[float]
    std_T: Sequence[float]


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    sweep = SweepFile.read(Folder.at(arguments.results).child(arguments.sweep))
    drawn = figure(sweep, open_results(arguments.results))
    out = Path(arguments.out)
    for kind in ("png", "svg"):
        file = out / f"{arguments.sweep}.{kind}"
        try:
            out.mkdir(parents=True, exist_ok=True)
            drawn.savefig(file, dpi=110)
        except OSError as error:
            raise UserError(f"{file}: cannot be written: {error.strerror}") from None
        print(file)
    return 0


def figure(sweep: SweepFile, results: Results) -> Figure:
    """The figure of a sweep. Raises StoreError if none of its configurations has finished."""
    tried = _tried(sweep, results)
    best = (max if sweep.maximize else min)(tried, key=lambda t: t.value)
    first = tried[0]
    promoted = _promotion_curves(sweep, results)
    panels = len(sweep.vary) + 2 + bool(promoted)
    rows = -(-panels // _COLUMNS)
    columns = -(-panels // rows)
    drawn = Figure(figsize=(3.4 * columns, 3.1 * rows), layout="constrained")
    axes = list(drawn.subplots(rows, columns, squeeze=False).flat)
    for unused in axes[panels:]:
        unused.remove()
    metric = str(sweep.objective["metric"])
    for axis, (name, dimension) in zip(axes, sweep.vary.items(), strict=False):
        _dimension(axis, name, dimension, tried, best, first)
    for axis in axes[: len(sweep.vary) + 1]:
        axis.set_ylabel(_percent(metric))
    _best_so_far(axes[len(sweep.vary)], tried, best, first, maximize=sweep.maximize)
    searched = [_search_curve(sweep, results, t, color) for t, color in ((first, FIRST), (best, BEST))]
    _tasks(axes[len(sweep.vary) + 1], "the search: validation images", searched if first is not best else searched[1:])
    if promoted:
        _tasks(axes[len(sweep.vary) + 2], "fresh seeds: test images", promoted)
    n = len(sweep.seeds)
    drawn.suptitle(f"{sweep.name}: {len(tried)} configurations x {n} seed{'s' if n > 1 else ''}", fontsize=11)
    return drawn


# -- what is drawn ---------------------------------------------------------------------------------


def _tried(sweep: SweepFile, results: Results) -> list[Tried]:
    metric = str(sweep.objective["metric"])
    rows = results.sql(
        f"SELECT trial, params_json, {metric} AS value, {std_name(metric)} AS std FROM seeds "
        f"WHERE sweep = '{sweep.name}' AND status = 'finished' AND {metric} IS NOT NULL ORDER BY trial"
    ).arrow()
    if not len(rows):
        raise StoreError(f"{sweep.where}: no configuration has finished: nothing to draw")
    return [Tried(r["trial"], json.loads(r["params_json"]), r["value"], r["std"] or 0.0) for r in rows.to_pylist()]


def _search_curve(sweep: SweepFile, results: Results, tried: Tried, color: str) -> Curve:
    of = "best" if color == BEST else "first"
    where = f"sweep = '{sweep.name}' AND trial = {tried.trial}"
    return _curve(f"{of} (trial {tried.trial})", color, results, sweep, where)


def _promotion_curves(sweep: SweepFile, results: Results) -> list[Curve]:
    """Of the last promotion: what led and what it had to beat; empty if there was none."""
    last = results.sql(
        f"SELECT trial, config_id, incumbent_config_id, seeds FROM promotions WHERE sweep = '{sweep.name}' "
        "ORDER BY decided_at DESC LIMIT 1"
    ).arrow()
    curves = []
    for row in last.to_pylist():
        base = sweep.config({}, 0, "test").config_id
        wanted = {base: ("the sweep's base", FIRST), row["incumbent_config_id"]: ("incumbent", OTHER)}
        wanted[row["config_id"]] = (f"trial {row['trial']}", BEST)
        for config_id, (label, color) in wanted.items():
            seeds = ", ".join(map(str, row["seeds"]))
            where = f"sweep = '{sweep.name}-promotion' AND config_id = '{config_id}' AND seed IN ({seeds})"
            curve = _curve(label, color, results, sweep, where)
            curves += [curve] if curve.mean_T else []
    return curves


def _curve(label: str, color: str, results: Results, sweep: SweepFile, where: str) -> Curve:
    """The accuracies that the objective averages over tasks, or its nearest kin."""
    weighted = "class_weighted" in str(sweep.objective["metric"])
    column = f"phase_acc_{'class_weighted' if weighted else 'task_mean'}_pct"
    rows = results.sql(f"SELECT DISTINCT task, seed, {column} AS value FROM tasks WHERE {where} ORDER BY task").arrow()
    by_task: dict[int, list[float]] = {}
    for row in rows.to_pylist():
        by_task.setdefault(row["task"], []).append(row["value"])
    values = list(by_task.values())
    return Curve(label, color, [fmean(v) for v in values], [stdev(v) if len(v) > 1 else 0.0 for v in values])


# -- how it is drawn -------------------------------------------------------------------------------


def _dimension(
    axis: Axes, name: str, dimension: Mapping[str, Any], tried: Sequence[Tried], best: Tried, first: Tried
) -> None:
    """The objective over one dimension; configurations that lack it are left out."""
    shown = [t for t in tried if name in t.params]
    if dimension["type"] == "categorical":
        choices = [str(choice) for choice in dimension["choices"]]
        place = {t.trial: choices.index(str(t.params[name])) for t in shown}
        axis.set_xticks(range(len(choices)), choices)
        axis.set_xlim(-0.5, len(choices) - 0.5)
    else:
        place = {t.trial: t.params[name] for t in shown}
        axis.set_xscale("log" if dimension["log"] else "linear")
    for t in shown:
        color, size, order = (BEST, 7, 3) if t is best else (FIRST, 7, 2) if t is first else (OTHER, 4, 1)
        axis.errorbar(place[t.trial], t.value, t.std, fmt="o", color=color, ms=size, elinewidth=0.8, zorder=order)
    axis.set_xlabel(name)
    _plain(axis)


def _best_so_far(axis: Axes, tried: Sequence[Tried], best: Tried, first: Tried, *, maximize: bool) -> None:
    pick = max if maximize else min
    values = [t.value for t in tried]
    grown = [pick(values[: i + 1]) for i in range(len(values))]
    numbers = [t.trial for t in tried]
    axis.plot(numbers, values, "o", color=OTHER, ms=4, label="each")
    axis.step(numbers, grown, where="post", color=BEST, label="best so far")
    axis.plot([first.trial], [first.value], "o", color=FIRST, ms=7, label="first")
    axis.plot([best.trial], [best.value], "o", color=BEST, ms=7)
    axis.set_xlabel("trial")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(fontsize=8, frameon=False)
    _plain(axis)


def _tasks(axis: Axes, title: str, curves: Sequence[Curve]) -> None:
    for curve in curves:
        numbers = range(1, len(curve.mean_T) + 1)
        axis.errorbar(
            numbers, curve.mean_T, curve.std_T, fmt="o-", ms=4, capsize=2, color=curve.color, label=curve.label
        )
    axis.set_title(title, fontsize=9)
    axis.set_xlabel("after task")
    axis.set_ylabel("accuracy on all classes seen, %")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(fontsize=8, frameon=False)
    _plain(axis)


def _percent(metric: str) -> str:
    return {"acc_task_mean_pct": "ACC, %"}.get(metric, f"{metric.removesuffix('_pct')}, %")


def _plain(axis: Axes) -> None:
    axis.grid(color="0.92", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sweeper.report", description="Draw a sweep.")
    parser.add_argument("sweep", help="name of a sweep")
    parser.add_argument("--results", default=os.environ.get("CIL_RESULTS", "results"), help="default: results")
    parser.add_argument("--out", default="out", metavar="DIR", help="where the figure goes (default: out)")
    return parser


if __name__ == "__main__":
    sys.exit(exit_code(main))
