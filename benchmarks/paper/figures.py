"""Tables as figures: bars next to the paper's numbers, lines over tasks, lines over classes."""

import textwrap
from collections.abc import Sequence
from itertools import groupby

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmarks.paper.layout import Entry
from benchmarks.paper.tables import Table

_PAPER = "#d95f02"
_OURS = "#1b6ca8"
_MOST = 4
"""panels in a row"""
_LINES = 6
"""tasks drawn of a figure of classes: the first, the last, and some between"""


def draw(table: Table, found: Sequence[Entry], stepwise: Sequence[Entry], subtitle: str) -> Figure:
    """The figure. ``found``: the table's own numbers; ``stepwise``: those by task, or task and class."""
    entries = found if table.drawn == "bars" else stepwise
    panels = _panels(table, entries, found)
    rows = -(-len(panels) // _MOST)
    columns = -(-len(panels) // rows) if panels else 1
    height = 0.9 + 0.24 * len(table.rows) if table.drawn == "bars" else 3.1
    drawn = Figure(figsize=(max(5.0, 3.7 * columns), height * rows + 0.8), layout="constrained")
    axes = list(drawn.subplots(rows, columns, squeeze=False, sharey="row" if table.drawn != "bars" else False).flat)
    for unused in axes[len(panels) :]:
        unused.remove()
    paint = {"bars": _bars, "steps": _steps, "classes": _classes}[table.drawn]
    for axis, (title, own) in zip(axes, panels, strict=False):
        axis.set_title(title, fontsize=9)
        if table.log:
            axis.set_yscale("log")
        measured = [entry for entry in own if entry.mean is not None]
        if table.drawn == "bars" and measured:
            paint(axis, own)
        elif measured:
            paint(axis, measured)
            _missing(axis, [entry for entry in own if entry.mean is None])
        else:
            _missing(axis, own)
            axis.set_axis_off()
        axis.grid(color="0.92", linewidth=0.8)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    if axes:
        label = axes[0].set_xlabel if table.drawn == "bars" else axes[0].set_ylabel
        label(table.unit, fontsize=8)
    width = int(drawn.get_figwidth() * 14)
    drawn.suptitle("\n".join([table.title, *textwrap.wrap(subtitle, width)]), fontsize=9)
    return drawn


def _panels(table: Table, entries: Sequence[Entry], cells: Sequence[Entry]) -> list[tuple[str, list[Entry]]]:
    """What stands in each panel: a column of a data set, of one row where classes are drawn.

    One of which no run has finished stands there too, with the cells that say why.
    """

    def title(entry: Entry) -> str:
        return f"{entry.data} {entry.column}" + (f": {entry.row}" if table.drawn == "classes" else "")

    found: dict[str, list[Entry]] = {}
    for entry in (*entries, *(cell for cell in cells if cell.mean is None and cell not in entries)):
        found.setdefault(title(entry), []).append(entry)
    return list(found.items())


def _missing(axis: Axes, entries: Sequence[Entry]) -> None:
    """Name in the panel what has no number, and why."""
    text = "\n".join(dict.fromkeys(f"{entry.row}: {entry.note or 'not measured'}" for entry in entries))
    axis.text(0.02, 0.98, text, transform=axis.transAxes, fontsize=7, va="top", color=_PAPER)


def _bars(axis: Axes, entries: Sequence[Entry]) -> None:
    places = range(len(entries))[::-1]
    means = [entry.mean or 0.0 for entry in entries]
    axis.barh(places, means, xerr=[e.std or 0.0 for e in entries], color=_OURS, ecolor="0.2", height=0.6)
    shown = [(place, e) for place, e in zip(places, entries, strict=True) if e.paper is not None]
    if shown:
        source = shown[0][1].paper_of
        axis.plot(
            [e.paper or 0.0 for _, e in shown],
            [p for p, _ in shown],
            "|",
            color=_PAPER,
            ms=11,
            mew=2,
            label=f"paper, {source}",
        )
        axis.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.12))
    for place, entry in zip(places, entries, strict=True):
        if entry.mean is None:
            axis.text(0.0, place, f" {entry.note or 'not measured'}", fontsize=7, va="center", color=_PAPER)
    axis.set_yticks(places, [entry.row for entry in entries], fontsize=7)


def _steps(axis: Axes, entries: Sequence[Entry]) -> None:
    colors = colormaps["tab10"]
    for index, (row, own) in enumerate(groupby(entries, key=lambda e: e.row)):
        points = list(own)
        x, y = [(e.step or 0) + 1 for e in points], [e.mean or 0.0 for e in points]
        axis.errorbar(
            x, y, [e.std or 0.0 for e in points], fmt="o-", ms=3, capsize=2, lw=1.2, color=colors(index % 10), label=row
        )
    axis.set_xlabel("after task", fontsize=8)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(fontsize=7, frameon=False)


def _classes(axis: Axes, entries: Sequence[Entry]) -> None:
    by_task = {step: list(own) for step, own in groupby(entries, key=lambda e: e.step or 0)}
    tasks = sorted(by_task)
    shown = sorted({tasks[round(i * (len(tasks) - 1) / (_LINES - 1))] for i in range(_LINES)})
    colors = colormaps["viridis"]
    for index, task in enumerate(shown):
        points = by_task[task]
        color = colors(index / max(1, len(shown) - 1) * 0.9)
        axis.plot(
            [e.position or 0 for e in points],
            [e.mean or 0.0 for e in points],
            color=color,
            lw=1,
            label=f"task {task + 1}",
        )
    axis.set_xlabel("class, in the order of learning", fontsize=8)
    axis.legend(fontsize=7, frameon=False)
