"""Measure the results folder: storing a configuration, querying the best one, looking up a finished run.

``python -m benchmarks.store``. A sweep of ``--configurations`` is written with at least as many unmerged files as a
service leaves at its worst, on the disk of ``--folder``; then it is merged and measured again.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks import timing
from sweeper.store.cache import RunCache
from sweeper.store.folder import Folder
from sweeper.store.results import open_results
from sweeper.store.segments import Range
from sweeper.store.store import Store
from trainer.config.run_config import RunConfig
from trainer.errors import exit_code
from trainer.methods.base import METHODS
from trainer.results.columns import config_values
from trainer.results.parquet import encode
from trainer.results.rows import ClassRow, EpochRow, RunResult, TaskRow

TASKS, EPOCHS, CLASSES = 10, 160, 100
BLOCKS = (256, 32, 1)
"""trials of a file, as merging leaves them"""


def results(trial: int, seeds: int, method: str, *, details: bool = True) -> list[RunResult]:
    """The results of a configuration as a sweep with the paper's protocol stores them."""
    config = RunConfig(method=METHODS.find(method)())
    values = {name: value for name, value in config_values(config).items() if value is not None}
    return [_result(trial, seed, values, details) for seed in range(seeds)]


def _result(trial: int, seed: int, config: dict[str, Any], details: bool) -> RunResult:
    step = CLASSES // TASKS
    return RunResult(
        run_id=_run_id(trial, seed),
        config_id=f"{trial:016x}",
        seed=seed,
        status="finished",
        split="validation",
        tasks_done=TASKS,
        acc_task_mean_pct=_accuracy(trial),
        device_s=9.0,
        saved_s=0.0,
        finished_at=datetime.now(UTC),
        versions={"torch": "2"},
        data_fingerprint="images",
        config=config,
        tasks=[_task(t, step, _accuracy(trial)) for t in range(TASKS if details else 0)],
        epochs=[_epoch(t, e) for t in range(TASKS if details else 0) for e in range(EPOCHS)],
        classes=[_class(t, c, step) for t in range(TASKS if details else 0) for c in range(step * (t + 1))],
    )


def _task(task: int, step: int, acc: float) -> TaskRow:
    return TaskRow(
        task=task,
        classes_new=step,
        classes_seen=step * (task + 1),
        images_new=500,
        images_memory=20 * task,
        acc_task_mean_pct=acc,
        acc_class_weighted_pct=acc,
        phase_acc_task_mean_pct=acc,
        phase_acc_class_weighted_pct=acc,
        acc_by_task_pct=[acc] * (task + 1),
        phase_acc_others_pct={},
        forgetting_pct=3.5 if task else None,
        acc_many_pct=acc,
        acc_medium_pct=acc,
        acc_few_pct=acc,
        head_norm_mean=1.25,
        head_norm_var=0.25,
        wall_s=1.0,
        device_s=0.9,
    )


def _epoch(task: int, epoch: int) -> EpochRow:
    loss = 1 + 1 / (1 + epoch) + task
    terms = {"ce": loss, "kd": loss / 3}
    return EpochRow(
        task=task,
        epoch=epoch,
        stage="train",
        steps=5,
        lr=0.1,
        loss=loss,
        terms=terms,
        train_acc_pct=50 + epoch / 7,
        wall_s=0.1 + epoch / 1e4,
    )


def _class(task: int, position: int, step: int) -> ClassRow:
    return ClassRow(
        task=task,
        position=position,
        class_id=position,
        class_name=f"class {position}",
        first_task=position // step,
        images=500 - position,
        exemplars=20,
        shot="many",
        acc_pct=50 + position / 7 + task,
        head_norm=1 + position / 11,
        head_grad_norm=0.125,
    )


def _run_id(trial: int, seed: int) -> str:
    return f"{trial:08x}{seed:08x}"


def _accuracy(trial: int) -> float:
    return 30 + trial * 7919 % 1000 / 100


def main(argv: Sequence[str] | None = None) -> int:
    parser = timing.parser("store", "Measure the results folder.", run_file=False)
    parser.add_argument("--folder", help="a disk to measure (default: the temporary folder's)")
    parser.add_argument("--configurations", type=int, default=10_000, help="stored before (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each configuration (default: %(default)s)")
    parser.add_argument("--no-details", action="store_true", help="store them without tasks, epochs and classes")
    parser.add_argument("--method", default="gradient_reweighting", help="method of the runs (default: %(default)s)")
    arguments = parser.parse_args(argv)
    folder = Path(tempfile.mkdtemp(dir=arguments.folder))
    try:
        template = results(0, arguments.seeds, arguments.method, details=not arguments.no_details)
        files = _fill(folder, arguments.configurations, template)
        found = _measure(folder, arguments.configurations, arguments.rounds, arguments.method)
        size = sum(file.stat().st_size for file in folder.rglob("*.parquet"))
    finally:
        shutil.rmtree(folder)
    about = (
        f"{arguments.configurations} configurations of {arguments.seeds} seeds in {files} files, "
        f"{arguments.configurations * arguments.seeds} runs{' without details' if arguments.no_details else ''}; "
        f"{size / 1e6:.0f} MB after merging. A stored configuration has 3 seeds, {TASKS} tasks, {EPOCHS} epochs per "
        f"task and {CLASSES} classes. {arguments.rounds} rounds, median (least to most)."
    )
    table = [[what, timing.median_and_range([s * 1e3 for s in seconds])] for what, seconds in found.items()]
    timing.publish(arguments.name, [about], ("what", "ms"), table, {"seconds": found, "files": files, "bytes": size})
    print(about)
    return 0


def _fill(folder: Path, configurations: int, template: Sequence[RunResult]) -> int:
    """Write a sweep's files: blocks of 256, then at least 7 of 32, then at least 31 single ones; return their number."""
    store = Store(folder, "s")
    space = {"objective": {"metric": "acc_task_mean_pct", "split": "validation", "direction": "maximize"}}
    store.folder.write("space.yaml", json.dumps(space).encode())
    store.finish_trial(0, template, attempt="a")
    rows = store.read()
    runs = store.folder.child("runs")
    runs.delete(Range(0, 0).file)
    first = files = 0
    while first < configurations:
        left = configurations - first
        size = next(size for size, spare in zip(BLOCKS, (255, 31, 0), strict=True) if left >= size + spare)
        trials = range(first, first + size)
        runs.write(Range(trials[0], trials[-1]).file, encode(pa.concat_tables(_copies(rows, trials))))
        first, files = first + size, files + 1
    return files


def _copies(rows: pa.Table, trials: range) -> list[pa.Table]:
    """The runs of one configuration, once for each of these trials."""
    found = []
    for trial in trials:
        changed = {
            "trial": [trial] * len(rows),
            "config_id": [f"{trial:016x}"] * len(rows),
            "run_id": [_run_id(trial, seed) for seed in rows["seed"].to_pylist()],
            "acc_task_mean_pct": [_accuracy(trial)] * len(rows),
        }
        table = rows
        for name, values in changed.items():
            own = rows.schema.field(name)
            table = table.set_column(rows.schema.get_field_index(name), own, pa.array(values, own.type))
        found.append(table)
    return found


def _measure(folder: Path, configurations: int, rounds: int, method: str) -> timing.Seconds:
    store = Store(folder, "s")
    other = Store(folder, "other")
    ready = results(0, 3, method)
    trials = iter(range(1_000_000))
    cache = RunCache(Folder.at(folder), look_every_s=1e9)

    def best() -> None:
        open_results(folder, "s").sql("SELECT * FROM best")

    def finish() -> None:
        other.finish_trial(next(trials), ready, attempt="a")

    def absent() -> None:
        assert not cache.find(["none"])

    def present() -> None:
        assert cache.find([_run_id(configurations - 1, 0)])

    return {
        "best, before merging": _times(rounds, best),
        "one configuration stored": _times(20 * rounds, finish),
        "finished runs, first look": _times(1, absent),
        "a run that is not stored": _times(20 * rounds, absent),
        "a run that is stored": _times(rounds, present),
        "merging everything, once": _times(1, store.compact),
        "best, after merging": _times(rounds, best),
    }


def _times(rounds: int, what: Callable[[], None]) -> list[float]:
    found = []
    for _ in range(rounds):
        started = time.perf_counter()
        what()
        found.append(time.perf_counter() - started)
    return found


if __name__ == "__main__":
    sys.exit(exit_code(main))
