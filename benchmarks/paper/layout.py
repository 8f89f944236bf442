"""Measurements as entries, and entries next to the paper's numbers: on a terminal, as Markdown, as Parquet."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import pyarrow as pa
from scipy import stats

from benchmarks.paper.cells import paper_numbers
from benchmarks.paper.measure import Measured
from benchmarks.paper.tables import Table
from sweeper.promotion.statistics import Interval
from trainer.results.rows import ClassRow, RunResult

STAND_INS = ("cifar100_lt", "imagenet_subset_lt", "food101_lt")
"""whose numbers are shown for a data set that the paper does not have, to compare the order of the rows only"""
INSIDE, LEADS = "≈", "*"
LEGEND = (
    f"mean ± standard deviation (n seeds). {LEADS}: better than each other row of the column: the paired 95 % "
    "intervals of its differences, over the same seeds, exclude 0 (not corrected for the number of rows). "
    f"{INSIDE}: the paper's number lies within our standard deviation."
)


@dataclass(frozen=True)
class Entry:
    """One number of a table, with its seeds."""

    data: str
    column: str
    row: str
    seeds: tuple[int, ...]
    values: tuple[float, ...]
    """one a seed that finished"""
    step: int | None = None
    """task (0-based) in figures that go step by step; None for the table's own number"""
    position: int | None = None
    """of the class in the order of learning, in figures of classes"""
    paper: float | None = None
    paper_of: str | None = None
    """the data set that the paper's number is of"""
    note: str = ""
    config_id: str | None = None
    params_json: str | None = None
    """what a search has chosen, by field, as JSON; None where nothing was searched"""
    comparable: bool = False
    """whether ours and the paper's are of the same data set and protocol"""

    @property
    def mean(self) -> float | None:
        return fmean(self.values) if self.values else None

    @property
    def std(self) -> float | None:
        return stdev(self.values) if len(self.values) > 1 else None

    @property
    def inside(self) -> bool:
        """Whether the paper's number lies inside the spread of ours; never said of what does not compare."""
        if not self.comparable or self.paper is None or self.mean is None or self.std is None:
            return False
        return abs(self.paper - self.mean) <= self.std

    @property
    def ours(self) -> str:
        """``31.20 ± 0.40 (3)``, and what became of runs that did not finish."""
        if self.mean is None:
            return self.note or "-"
        digits = ".2f" if abs(self.mean) >= 1 else ".3g"
        spread = "" if self.std is None else f" ± {self.std:{digits}}"
        return f"{self.mean:{digits}}{spread} ({len(self.values)})" + (f", {self.note}" if self.note else "")


def entries(table: Table, name: str, measured: Sequence[Measured], *, reduced: bool) -> list[Entry]:
    """The table's own numbers, a cell each, and behind them those of classifiers that come with a method."""
    found = []
    for one in measured:
        found.append(_entry(name, one, one.cell.row.label, _own(table), reduced=reduced))
        if table.drawn == "bars":
            others = {key for run in one.runs for task in run.tasks for key in task.phase_acc_others_pct}
            for other in sorted(others):
                found.append(_entry(name, one, f"{one.cell.row.label}, {other}", _by_other(other), reduced=True))
    return found


def steps(table: Table, measured: Sequence[Measured]) -> list[Entry]:
    """What a figure draws: a number a task, or a task and class."""
    table_of = {"steps": "tasks", "classes": "classes"}.get(table.drawn)
    found = []
    for one in measured:
        by_place: dict[tuple[int, int | None], list[float]] = {}
        for run in one.runs:
            for row in getattr(run, table_of) if table_of else ():
                value = getattr(row, table.metric)
                if value is not None:
                    by_place.setdefault((row.task, getattr(row, "position", None)), []).append(value)
        for (step, position), values in sorted(by_place.items(), key=lambda item: (item[0][0], item[0][1] or 0)):
            found.append(
                Entry(
                    one.cell.data,
                    one.cell.column.label,
                    one.cell.row.label,
                    _seeds(one),
                    tuple(values),
                    step,
                    position,
                    config_id=one.cell.configs[0].config_id,
                )
            )
    return found


# -- the table as people read it ---------------------------------------------------------------------


def grid(table: Table, found: Sequence[Entry], data: str) -> tuple[list[str], list[list[str]]]:
    """Headers and rows of one data set: a column of ours and, where there is one, of the paper's."""
    own = [entry for entry in found if entry.data == data]
    columns, rows = _in_order(e.column for e in own), _in_order(e.row for e in own)
    headers, lines = ["system"], [[row] for row in rows]
    for column in columns:
        here = {entry.row: entry for entry in own if entry.column == column}
        source = next((e.paper_of for e in here.values() if e.paper_of), None)
        leader = _leader(table, list(here.values()))
        headers += [column, *([f"paper ({source})"] if source else [])]
        for line, row in zip(lines, rows, strict=True):
            entry = here.get(row)
            line.append("" if entry is None else entry.ours + (f" {LEADS}" if entry is leader else ""))
            if source:
                line.append(_paper(entry))
    return headers, lines


def orders(table: Table, found: Sequence[Entry], data: str) -> list[str]:
    """For each column of a data set, how far our order of the rows is the paper's."""
    lines = []
    for column in _in_order(e.column for e in found if e.data == data):
        both = [e for e in found if (e.data, e.column) == (data, column) and e.paper is not None and e.mean is not None]
        if len(both) < 3:
            continue
        tau = float(stats.kendalltau([e.mean for e in both], [e.paper for e in both]).statistic)
        if math.isfinite(tau):
            lines.append(
                f"{data} {column}: the order of {len(both)} rows against the paper's ({both[0].paper_of}): "
                f"Kendall's tau {tau:+.2f}"
            )
    return lines


def markdown(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def parquet_rows(name: str, found: Iterable[Entry], unit: str, departures: Sequence[str]) -> pa.Table:
    """Every entry, with its seeds, as a table of Arrow."""
    rows = [
        {
            "table": name,
            "data": e.data,
            "column": e.column,
            "row": e.row,
            "task": e.step,
            "position": e.position,
            "unit": unit,
            "mean": e.mean,
            "std": e.std,
            "n": len(e.values),
            "seeds": list(e.seeds),
            "values": list(e.values),
            "paper": e.paper,
            "paper_of": e.paper_of,
            "inside_spread": e.inside,
            "note": e.note,
            "config_id": e.config_id,
            "params_json": e.params_json,
            "departures": list(departures),
        }
        for e in found
    ]
    return pa.Table.from_pylist(rows, SCHEMA)


SCHEMA = pa.schema(
    {
        **dict.fromkeys(("table", "data", "column", "row"), pa.string()),
        **dict.fromkeys(("task", "position"), pa.int64()),
        "unit": pa.string(),
        **dict.fromkeys(("mean", "std"), pa.float64()),
        "n": pa.int64(),
        "seeds": pa.list_(pa.int64()),
        "values": pa.list_(pa.float64()),
        "paper": pa.float64(),
        "paper_of": pa.string(),
        "inside_spread": pa.bool_(),
        **dict.fromkeys(("note", "config_id", "params_json"), pa.string()),
        "departures": pa.list_(pa.string()),
    }
)
"""of the Parquet file of a table"""


# -- one cell ------------------------------------------------------------------------------------------

Value = Callable[[RunResult], float | None]
"""a number of one run"""


def _own(table: Table) -> Value:
    """What the table says of a run: the metric itself, after the last task where it goes step by step."""
    if table.drawn == "bars":
        return lambda run: getattr(run, table.metric)
    if table.drawn == "steps":
        return lambda run: getattr(run.tasks[-1], table.metric)
    return lambda run: _largest_over_smallest(run.classes, table.metric)


def _largest_over_smallest(classes: Sequence[ClassRow], metric: str) -> float | None:
    """Of the classes after the last task."""
    last = max(row.task for row in classes)
    values = [getattr(row, metric) for row in classes if row.task == last]
    return max(values) / min(values) if min(values) > 0 else None


def _by_other(name: str) -> Value:
    """Average accuracy of a classifier that comes with the method; in tasks that lack it, of the method's own."""

    def average(run: RunResult) -> float:
        values = [task.phase_acc_others_pct.get(name, task.phase_acc_task_mean_pct) for task in run.tasks]
        return fmean(value for value in values if value is not None)

    return average


def _entry(name: str, one: Measured, row: str, value: Value, *, reduced: bool) -> Entry:
    cell = one.cell
    numbers = paper_numbers().get(name, {})
    sources = [cell.data, *STAND_INS]
    source = next((data for data in sources if (data, cell.column.label, row) in numbers), None)
    values = [value(run) for run in one.runs]
    return Entry(
        cell.data,
        cell.column.label,
        row,
        _seeds(one),
        tuple(v for v in values if v is not None),
        paper=None if source is None else numbers[source, cell.column.label, row],
        paper_of=source,
        note=one.note,
        config_id=cell.configs[0].config_id,
        comparable=source == cell.data and not reduced,
    )


def _seeds(one: Measured) -> tuple[int, ...]:
    return tuple(run.seed for run in one.runs)


def _leader(table: Table, here: Sequence[Entry]) -> Entry | None:
    """The row of a column that is better than each other one, where the evidence is there."""
    measured = [entry for entry in here if entry.mean is not None]
    if table.higher_is_better is None or len(measured) < 2:
        return None
    sign = 1 if table.higher_is_better else -1
    best = max(measured, key=lambda entry: sign * (entry.mean or 0.0))
    return best if all(_better(best, other, sign) for other in measured if other is not best) else None


def _better(entry: Entry, other: Entry, sign: int) -> bool:
    """Whether the paired interval of the difference excludes 0; seeds that did not all finish cannot be paired."""
    if entry.seeds != other.seeds or not len(entry.values) == len(other.values) == len(entry.seeds):
        return False
    difference = Interval.paired(entry.values, other.values)
    return min(sign * difference.low, sign * difference.high) > 0


def _paper(entry: Entry | None) -> str:
    if entry is None or entry.paper is None:
        return ""
    return f"{entry.paper:.2f}" + (f" {INSIDE}" if entry.inside else "")


def _in_order(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
