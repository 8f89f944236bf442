"""From a table to its runs: a cell is a row and a column of a data set, with one configuration per seed."""

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from benchmarks.paper.systems import Row
from benchmarks.paper.tables import Column, Table
from trainer.config.files import load_run, override, parse_run, parse_set, set_field
from trainer.config.run_config import RunConfig
from trainer.errors import ConfigError

RUNS = Path(__file__).resolve().parents[2] / "runs"
SEEDS = 3
"""number of seeds behind the paper's means"""
_LARGE_IMAGES = "resnet18"
"""the network of ImageNetSubset and Food101"""
_PROTOCOL = r"(lfs\d+|lfh\d+|recognition)"


@dataclass(frozen=True)
class Choice:
    """The selection made on the command line."""

    data: tuple[str, ...] = ()
    """data sets; none: the paper's"""
    only: tuple[str, ...] = ()
    """rows; none: all"""
    columns: tuple[str, ...] = ()
    """none: all"""
    seeds: tuple[int, ...] = tuple(range(SEEDS))
    epochs_scale: float = 1.0
    sets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cell:
    data: str
    column: Column
    row: Row
    configs: tuple[RunConfig, ...]
    """one a seed"""

    @property
    def label(self) -> str:
        return f"{self.data} {self.column.label}: {self.row.label}"

    @property
    def slug(self) -> str:
        """The label as the name of a file: ``cifar100_lt_lfs10_bic``."""
        return f"{self.data}_{self.column.label}_{self.row.slug}".replace(" ", "_")


def cells(table: Table, choice: Choice) -> list[Cell]:
    """The selected cells, by data set, column and row. Raises ConfigError."""
    known = (*table.rows, *table.further_rows)
    rows = _chosen(known, choice.only, "--only", [row.label for row in known]) if choice.only else table.rows
    found = []
    for data in choice.data or tuple(table.data):
        for column in columns(table, data, choice.columns):
            for row in rows:
                config = configure(data, column, row, choice)
                configs = tuple(config.model_copy(update={"seed": seed}) for seed in choice.seeds)
                found.append(Cell(data, column, row, configs))
    return found


def columns(table: Table, data: str, asked: Sequence[str] = ()) -> list[Column]:
    """The table's columns for a data set; where it has no run file of a protocol, its first one is used instead."""
    have = protocols(data)
    found: dict[tuple[str, str], Column] = {}
    for column in table.columns:
        if column.label not in table.data.get(data, (column.label,)):
            continue
        if column.protocol not in have:
            protocol = next((name for name in have if name.startswith("lf")), None)
            if protocol is None or not column.protocol.startswith("lf"):
                raise ConfigError(f"runs/{data}_{column.protocol}.yaml is missing", field="--data")
            label = column.label if column.changes else protocol
            column = replace(column, label=label, protocol=protocol)  # noqa: PLW2901
        found.setdefault((column.protocol, str(column.changes)), column)
    every = list(found.values())
    return _chosen(every, asked, "--columns", [column.label for column in every])


def configure(data: str, column: Column, row: Row, choice: Choice) -> RunConfig:
    """A cell's configuration, seed 0: the base, then the row's sections, the column's fields, the scale, the sets."""
    file = RUNS / f"{data}_{column.protocol}.yaml"
    content = load_run(file).config.as_dict() | copy.deepcopy(dict(row.changes))
    where = f"row {row.label!r} on {file.name}"
    if content["net"]["name"] == _LARGE_IMAGES:
        _set(content, row.large)
    _set(content, column.changes)
    content = scaled(parse_run(content, file=where).as_dict(), choice.epochs_scale)
    override(content, map(parse_set, choice.sets))
    return parse_run(content, file=where)


def scaled(content: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """A complete run file with epochs and milestones of its stages multiplied by ``factor``, at least 1.

    Stages of a method follow by themselves: methods state their epochs as fractions of a task's.
    """
    found = dict(content)
    for name in ("optim", "stage2"):
        if found.get(name):
            found[name] = {key: _scaled(key, value, factor) for key, value in found[name].items()}
    return found


def departures(table: Table, choice: Choice) -> list[str]:
    """How this differs from the full table of the paper, in words; empty if it is the full table."""
    found = []
    if choice.epochs_scale != 1:
        found.append(f"epochs x {choice.epochs_scale:g}")
    found += choice.sets
    if len(choice.seeds) < SEEDS:
        found.append(f"{len(choice.seeds)} seed{'s' if len(choice.seeds) > 1 else ''} instead of {SEEDS}")
    if choice.only:
        found.append(f"{len(choice.only)} of {len(table.rows)} rows")
    for data in choice.data or tuple(table.data):
        every = columns(table, data)
        if choice.columns:
            found.append(f"{data}: {len(columns(table, data, choice.columns))} of {len(every)} columns")
        missing = {c.protocol for c in table.columns} - set(protocols(data))
        if missing and data not in table.data:
            found.append(f"{data}: {', '.join(sorted({c.protocol for c in every}))} for {', '.join(sorted(missing))}")
    return found


def protocols(data: str) -> list[str]:
    """The protocols for which a data set has run files, sorted. Raises ConfigError for a data set without any."""
    found: dict[str, list[str]] = {}
    for file in sorted(RUNS.glob("*.yaml")):
        match = re.fullmatch(rf"(.+)_{_PROTOCOL}", file.stem)
        if match:
            found.setdefault(match[1], []).append(match[2])
    if data not in found:
        raise ConfigError.unknown(f"no run files of a data set {data!r}", data, found, field="--data")
    return found[data]


@cache
def paper_numbers() -> dict[str, dict[tuple[str, str, str], float]]:
    """By table: what the paper has for a data set, column and row, in %."""
    content = yaml.safe_load((Path(__file__).parent / "numbers.yaml").read_text())
    return {
        name: {
            (*column.split(" ", 1), row): value
            for row, values in table["rows"].items()
            for column, value in zip(table["columns"], values, strict=True)
        }
        for name, table in content.items()
    }


def _set(content: dict[str, Any], fields: Mapping[str, Any]) -> None:
    for dotted, value in fields.items():
        set_field(content, dotted, value)


def _scaled(key: str, value: Any, factor: float) -> Any:
    if "epochs" in key:
        return max(1, round(value * factor)) if value else value
    if key == "milestones":
        return sorted({max(1, round(epoch * factor)) for epoch in value})
    return value


def _chosen(every: Sequence[Any], asked: Sequence[str], field: str, labels: Sequence[str]) -> list[Any]:
    for label in asked:
        if label not in labels:
            raise ConfigError.unknown(f"no such label: {label!r}", label, labels, field=field)
    return [one for one, label in zip(every, labels, strict=True) if not asked or label in asked]
