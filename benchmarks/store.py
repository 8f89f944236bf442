"""What the results folder costs: a report stored at 10,000 configurations, the best of a million rows, an ask.

``python -m benchmarks.store``. Everything is written and read through the code that sweeps use, on the disk of
``--folder``.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks import timing
from sweeper.store.cache import Finished
from sweeper.store.results import open_results
from sweeper.store.store import Store
from trainer.config.run_config import RunConfig
from trainer.errors import exit_code
from trainer.methods.base import METHODS
from trainer.results.columns import config_row

TASKS, EPOCHS = 10, 160
UNMERGED = 255
"""parts of the sweep that asks, as many as there are before they are merged"""


def rows(trial: int, seeds: int, method: str) -> list[dict[str, Any]]:
    """A configuration's results as a sweep of the real protocol stores them."""
    config = RunConfig(method=METHODS.find(method)())
    return [_result(trial, seed, config) for seed in range(seeds)]


def _result(trial: int, seed: int, config: RunConfig) -> dict[str, Any]:
    ids = {"run_id": f"{trial:08x}{seed:08x}", "config_id": f"{trial:016x}", "seed": seed}
    ended = {"status": "finished", "split": "validation", "tasks_done": TASKS, "device_s": 9.0}
    acc = {"acc_task_mean_pct": _accuracy(trial)}
    epoch = {**ids, "stage": "train", "loss": 1.0, "terms": {"ce": 1.0}}
    return {
        "row": {**ids, **ended, **acc, **config_row(config)},
        "tasks": [{**ids, **acc, "task": t, "device_s": 0.9, "saved_s": 0.0} for t in range(TASKS)],
        "epochs": [{**epoch, "task": t, "epoch": e} for t in range(TASKS) for e in range(EPOCHS)],
        "classes": [
            {**ids, "task": t, "position": c, "acc_pct": 1.0} for t in range(TASKS) for c in range(10 * (t + 1))
        ],
    }


def _accuracy(trial: int) -> float:
    return 30 + trial * 7919 % 1000 / 100


def main(argv: Sequence[str] | None = None) -> int:
    parser = timing.parser("store", "What the results folder costs.", run_file=False)
    parser.add_argument("--folder", help="a disk to measure (default: the temporary folder's)")
    parser.add_argument("--configurations", type=int, default=10_000, help="stored before (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=100, help="runs of each (default: %(default)s)")
    parser.add_argument("--method", default="gradient_reweighting")
    arguments = parser.parse_args(argv)
    folder = Path(tempfile.mkdtemp(dir=arguments.folder))
    try:
        found = _measure(folder, arguments.configurations, arguments.seeds, arguments.rounds, arguments.method)
    finally:
        shutil.rmtree(folder)
    count = arguments.configurations * arguments.seeds
    about = (
        f"{arguments.configurations} configurations of {arguments.seeds} seeds, a part each: {count} rows of trials. "
        f"Stored is a configuration of 3 seeds with all reports of its {TASKS} tasks, {EPOCHS} epochs a task and all "
        "classes. Asked is as a sweep asks for each configuration before it trains it. "
        f"{arguments.rounds} rounds, median (least to most)."
    )
    table = [[what, timing.median_and_range([s * 1e3 for s in seconds])] for what, seconds in found.items()]
    timing.publish(arguments.name, [about], ("what", "ms"), table, {"seconds": found})
    return 0


def _measure(folder: Path, configurations: int, seeds: int, rounds: int, method: str) -> timing.Seconds:
    store = Store(folder, "s")
    space = {"objective": {"metric": "acc_task_mean_pct", "split": "validation", "direction": "maximize"}}
    store.folder.write("space.yaml", yaml.safe_dump(space).encode())
    template = [result["row"] for result in rows(0, seeds, method)]
    for trial in range(configurations):
        changed = {"trial": trial, "attempt": "a", "config_id": f"{trial:016x}", "acc_task_mean_pct": _accuracy(trial)}
        own = [{**row, **changed, "run_id": f"{trial:08x}{row['seed']:08x}"} for row in template]
        store.append("trials", own, f"t{trial:06d}")
    reports = iter(range(configurations, configurations + 1_000_000))
    ready = rows(0, 3, method)

    def best() -> None:
        open_results(folder, "s").sql("SELECT * FROM best")

    def report() -> None:
        store.finish_trial(next(reports), "a", ready)

    own = Store(folder, "own")
    for trial in range(UNMERGED):
        own.append("trials", [{**template[0], "run_id": f"own{trial}", "trial": trial}], f"t{trial:06d}")
    finished = Finished(folder, own="own", look_every_s=1000)

    def look() -> None:
        finished.find(["none"])

    def ask() -> None:
        finished.find(["none"])

    def answer() -> None:
        assert finished.find([f"{0:08x}{0:08x}"])

    return {
        "best, from as many parts as configurations": _times(rounds, best),
        "one configuration stored": _times(20 * rounds, report),
        "runs that are finished, looked at first": _times(1, look),
        "asked for one that is not": _times(20 * rounds, ask),
        "asked for one that is": _times(rounds, answer),
        "merged, once": _times(1, store.compact),
        "best, after merging": _times(rounds, best),
        "one configuration stored, after merging": _times(20 * rounds, report),
        "asked for one that is, after merging": _times(rounds, answer),
    }


def _times(rounds: int, what: Any) -> list[float]:
    found = []
    for _ in range(rounds):
        started = time.perf_counter()
        what()
        found.append(time.perf_counter() - started)
    return found


if __name__ == "__main__":
    sys.exit(exit_code(main))
