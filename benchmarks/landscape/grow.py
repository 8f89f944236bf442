"""Train what a table lacks, pack by pack; every pack is in the file before the next one begins."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.landscape.grid import Grid, Slice
from benchmarks.landscape.table import LEVELS, column_of
from benchmarks.record import RESULTS
from sweeper.search.space import Params
from trainer.config.run_config import RunConfig
from trainer.errors import DataError
from trainer.files import atomic_write
from trainer.results.rows import RunResult
from trainer.training.options import DeviceOptions
from trainer.training.session import train
from trainer.words import format_count

METRICS = ("acc_task_mean_pct", "forgetting_pct", "acc_many_pct", "acc_medium_pct", "acc_few_pct")
_COLUMNS = {
    "system": pa.string(),
    "point": pa.int32(),
    "split": pa.string(),
    "world": pa.string(),
    "seed": pa.int32(),
    "run_id": pa.string(),
    "status": pa.string(),
    **dict.fromkeys(METRICS, pa.float64()),
    "acc_task_mean_pct_by_task": pa.list_(pa.float64()),
    "device_s_by_task": pa.list_(pa.float64()),
    "members": pa.int32(),
    "precision": pa.string(),
    "git_commit": pa.string(),
}


class Wanted(NamedTuple):
    """One run of the grid."""

    slice: Slice
    number: int
    point: Params
    config: RunConfig


def path_of(name: str) -> Path:
    """The file of a data set's table."""
    return RESULTS / f"landscape_{name}.parquet"


def grow(grid: Grid, file: Path, *, minutes: float, members: int, options: DeviceOptions) -> int:
    """Train packs of up to so many members until the time is over or nothing is missing. Returns the runs left."""
    every = list(wanted(grid))
    rows: list[Mapping[str, Any]] = [*recorded(grid, file, every)]
    stored = {row["run_id"] for row in rows}
    missing = [one for one in every if one.config.run_id not in stored]
    print(f"{grid.name}: {format_count(len(stored), 'run')} recorded, {len(missing)} to train", flush=True)
    deadline, left = time.monotonic() + 60 * minutes, len(missing)
    for pack in packs(missing, members):
        if time.monotonic() >= deadline:
            break
        started = time.monotonic()
        found = train([one.config for one in pack], options)
        rows += [_row(one, run) for one, run in zip(pack, found, strict=True)]
        _write(grid, file, rows)
        left -= len(pack)
        first, taken = pack[0].slice, time.monotonic() - started
        where = f"{first.system}, {first.split}, world {first.world}"
        print(f"{where}: {format_count(len(pack), 'run')} in {taken:.0f} s; {left} left", flush=True)
    return left


def recorded(grid: Grid, file: Path, every: Iterable[Wanted]) -> list[dict[str, Any]]:
    """The rows of a table; none where there is no file. ``every``: the runs of the grid.

    Raises DataError for a file that is no table of this grid: rows of points that have moved would stand for others.
    """
    if not file.exists():
        return []
    try:
        table = pq.ParquetFile(file).read()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file}: not a readable Parquet file ({error})") from None
    if not {*_COLUMNS} <= {*table.column_names} or LEVELS not in (table.schema.metadata or {}):
        raise DataError(f"{file}: no table of hyperparameters; --file names another one")
    rows: list[dict[str, Any]] = table.to_pylist()
    own = {one.config.run_id for one in every}
    foreign = sum(row["run_id"] not in own for row in rows)
    if foreign:
        problem = f"{foreign} of its {format_count(len(rows), 'run')} {'is' if foreign == 1 else 'are'} not of the grid"
        raise DataError(f"{file}: {problem} {grid.name}, as it and its run file are now; --file begins another table")
    return rows


def wanted(grid: Grid) -> Iterator[Wanted]:
    """Every run of the grid; the seeds of one point are neighbours, as they can be trained together."""
    groups: dict[tuple[Any, ...], list[list[Wanted]]] = {}
    for one in grid.slices():
        each = zip(grid.points(one.system), grid.configs(one), strict=True)
        runs = [Wanted(one, number, point, config) for number, (point, config) in enumerate(each)]
        groups.setdefault((str(one.world), one.system, one.split), []).append(runs)
    for by_seed in groups.values():
        for together in zip(*by_seed, strict=True):
            yield from together


def packs(runs: Sequence[Wanted], members: int) -> list[list[Wanted]]:
    """Runs that can be members of one pass, in the order of the first of each pack."""
    found: list[list[Wanted]] = []
    open_: list[list[Wanted]] = []
    for one in runs:
        pack = next((pack for pack in open_ if pack[0].config.trains_together_with(one.config)), None)
        if pack is None:
            pack = []
            open_.append(pack)
            found.append(pack)
        pack.append(one)
        if len(pack) == members:
            open_.remove(pack)
    return found


def _row(one: Wanted, run: RunResult) -> dict[str, Any]:
    return {
        "system": one.slice.system,
        "point": one.number,
        "split": one.slice.split,
        "world": str(one.slice.world),
        "seed": one.slice.seed,
        "run_id": run.run_id,
        "status": run.status,
        **{name: getattr(run, name) for name in METRICS},
        "acc_task_mean_pct_by_task": [task.acc_task_mean_pct for task in run.tasks],
        "device_s_by_task": [task.device_s for task in run.tasks],
        "members": run.members,
        "precision": run.precision,
        "git_commit": run.git_commit,
        **{column_of(field): value for field, value in one.point.items()},
    }


def _write(grid: Grid, file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Replace the table, its rows in the order of the grid. A field that any system varies is a column."""
    fields = {column_of(field): pa.float64() for levels in grid.content.systems.values() for field in levels}
    metadata = {LEVELS: json.dumps(grid.levels()).encode()}
    schema = pa.schema([*_COLUMNS.items(), *fields.items()], metadata=metadata)
    systems = list(grid.content.systems)
    ordered = sorted(rows, key=lambda r: (systems.index(r["system"]), r["split"], r["world"], r["seed"], r["point"]))
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(ordered, schema=schema), sink, compression="zstd")
    atomic_write(file, sink.getvalue().to_pybytes())
