"""What the results folder costs: a configuration stored, the best of a million runs, a look for a finished run.

``python -m benchmarks.store``. Files are written as a sweep writes them and read through the code that users call, on
the disk of ``--folder``.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa

from benchmarks import timing
from sweeper.store import schema
from sweeper.store.cache import RunCache
from sweeper.store.results import open_results
from sweeper.store.sealed import sealed_json
from sweeper.store.segments import Range
from sweeper.store.store import Store
from trainer.command import at_least
from trainer.config.run_config import RunConfig
from trainer.errors import exit_code
from trainer.methods.base import METHODS
from trainer.results.config_columns import config_values
from trainer.results.parquet import encode, to_arrow
from trainer.results.rows import ClassRow, EpochRow, RunResult, TaskRow

TASKS, EPOCHS, CLASSES = 10, 160, 100
Times = dict[str, list[float]]
"""wall_s and processor_s: on a shared machine the latter says what a quiet one would take, but for its disk"""

BLOCKS = (256, 32, 1)
"""trials of the files that a sweep leaves, largest first"""


def results(seeds: int, method: str, *, details: bool = True, draw: int = 0) -> list[RunResult]:
    """A configuration's results as a sweep of the real protocol stores them, with random numbers."""
    values = {k: v for k, v in config_values(RunConfig(method=METHODS.find(method)())).items() if v is not None}
    return [_result(seed, values, random.Random(draw + seed), details) for seed in range(seeds)]


def _result(seed: int, config: dict[str, object], draw: random.Random, details: bool) -> RunResult:
    tasks = range(TASKS if details else 0)
    return RunResult(
        run_id=f"{0:08x}{seed:08x}",
        config_id=f"{0:016x}",
        seed=seed,
        status="finished",
        split="validation",
        tasks_done=TASKS,
        acc_task_mean_pct=50.0,
        device_s=9.0,
        saved_s=0.0,
        config=config,
        tasks=[_task(task, draw) for task in tasks],
        epochs=[_epoch(task, epoch, draw) for task in tasks for epoch in range(EPOCHS)],
        classes=[_class(t, c, draw) for t in tasks for c in range(CLASSES // TASKS * (t + 1))],
    )


def _task(task: int, draw: random.Random) -> TaskRow:
    acc = 100 * draw.random()
    return TaskRow(
        task=task,
        classes_new=CLASSES // TASKS,
        classes_seen=CLASSES // TASKS * (task + 1),
        images_new=500,
        images_memory=20 * task,
        acc_task_mean_pct=acc,
        acc_class_weighted_pct=acc,
        phase_acc_task_mean_pct=acc,
        phase_acc_class_weighted_pct=acc,
        acc_by_task_pct=[100 * draw.random() for _ in range(task + 1)],
        phase_acc_others_pct={},
        forgetting_pct=draw.random(),
        acc_many_pct=acc,
        acc_medium_pct=acc,
        acc_few_pct=acc,
        head_norm_mean=draw.random(),
        head_norm_var=draw.random(),
        wall_s=2.7,
        device_s=0.9,
    )


def _epoch(task: int, epoch: int, draw: random.Random) -> EpochRow:
    terms = {"ce": draw.random(), "kd": draw.random()}
    return EpochRow(
        task=task,
        stage="train",
        epoch=epoch,
        steps=10,
        lr=0.1,
        loss=sum(terms.values()),
        terms=terms,
        train_acc_pct=100 * draw.random(),
        wall_s=draw.random(),
    )


def _class(task: int, position: int, draw: random.Random) -> ClassRow:
    return ClassRow(
        task=task,
        class_id=position,
        class_name=f"class {position}",
        position=position,
        first_task=position // (CLASSES // TASKS),
        images=500 - 4 * position,
        exemplars=20,
        shot="many",
        acc_pct=draw.randrange(101),
        head_norm=draw.random(),
        head_grad_norm=draw.random(),
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = timing.parser("store", "What the results folder costs.", run_file=False)
    parser.add_argument("--folder", help="a disk to measure (default: the temporary folder's)")
    parser.add_argument(
        "--configurations", type=at_least(1), default=9_983, help="stored before (default: %(default)s)"
    )
    parser.add_argument("--seeds", type=at_least(1), default=3, help="runs of each (default: %(default)s)")
    parser.add_argument("--million", action="store_true", help="100 runs of each, without tasks, epochs and classes")
    parser.add_argument("--method", default="gradient_reweighting")
    arguments = parser.parse_args(argv)
    seeds, count = 100 if arguments.million else arguments.seeds, arguments.configurations
    folder = Path(tempfile.mkdtemp(dir=arguments.folder))
    try:
        template = results(seeds, arguments.method, details=not arguments.million)
        found, sizes = _measure(folder, count, template, arguments.rounds, arguments.method)
    finally:
        shutil.rmtree(folder)
    about = (
        f"{count} configurations of {seeds} runs{', of which nothing but the run is stored' * arguments.million}, in "
        f"the largest number of files that a sweep leaves. Stored is a configuration of 3 seeds with its {TASKS} tasks,"
        f" {EPOCHS} epochs a task and all of {CLASSES} classes. A sweep looks for the runs of each one before "
        f"training them. {arguments.rounds} rounds, median (least to most)."
    )
    table = [
        [what, *(timing.median_and_range([s * 1e3 for s in times[clock]]) for clock in ("wall_s", "processor_s"))]
        for what, times in found.items()
    ]
    table += [[what, f"{number:,.0f}", ""] for what, number in sizes.items()]
    about += f" Times are in ms. The load of the machine was {os.getloadavg()[1]:.1f}."
    content = {"times": found, "sizes": sizes, "load": os.getloadavg()}
    timing.publish(arguments.name, [about], ("what", "cost", "processor time"), table, content)
    return 0


def _measure(
    folder: Path, configurations: int, template: list[RunResult], rounds: int, method: str
) -> tuple[dict[str, Times], dict[str, float]]:
    store = _filled(folder, configurations, template)
    runs = folder / "s" / "runs"
    sizes: dict[str, float] = {"files": len(list(runs.iterdir()))}
    ready = [results(3, method, draw=3 * index) for index in range(32)]  # no two alike: a merged file is compressed
    own, trials = Store(folder / "own", "own"), iter(range(1_000_000))
    cache = RunCache(folder, own="s", look_every_s=1000)
    last = f"{configurations - 1:08x}{0:08x}"

    def store_one() -> None:
        trial = next(trials)
        own.finish_trial(trial, ready[trial % len(ready)], attempt="a")

    def best() -> None:
        assert open_results(folder, "s").sql("FROM best").rows()

    found: dict[str, Times] = {
        "one configuration stored": _times(20 * rounds, store_one),
        "best": _times(rounds, best),
        "finished runs, looked at first": _times(1, lambda: cache.find(["none"])),
        "a look for a run that is not there": _times(20 * rounds, lambda: cache.find(["none"])),
        "a look for one that is there": _times(rounds, lambda: cache.find([last])),
    }
    sizes["peak memory of a process that reads best, MB"] = _peak_mb(folder)
    found["merged, once"] = _times(1, store.compact)
    found["best, merged"] = _times(rounds, best)
    sizes["files, merged"] = len(list(runs.iterdir()))
    sizes["peak memory of a process that reads best, merged, MB"] = _peak_mb(folder)
    single = folder / "own" / "own" / "runs" / f"{next(trials) - 1:06d}.parquet"
    sizes["bytes of a configuration in a file of its own"] = single.stat().st_size
    own.compact()
    stored = sum(file.stat().st_size for file in single.parent.iterdir())
    sizes["bytes of a configuration, merged"] = stored / (20 * rounds)
    return found, sizes


def _filled(folder: Path, configurations: int, template: list[RunResult]) -> Store:
    """A sweep of this many configurations, which have their ids and accuracies apart from the template's."""
    store = Store(folder, "s")
    space = {"objective": {"metric": "acc_task_mean_pct", "split": "validation", "direction": "maximize"}}
    store.folder.write("space.yaml", sealed_json(space))
    one = to_arrow(template, schema.file_columns(), {"sweep": "s", "attempt": "a", "params_json": "{}"})
    first = 0
    for size in BLOCKS:
        while first + size <= configurations:
            trials = [trial for trial in range(first, first + size) for _ in template]
            changed = {
                "trial": trials,
                "config_id": [f"{trial:016x}" for trial in trials],
                "run_id": [f"{trial:08x}{i % len(template):08x}" for i, trial in enumerate(trials)],
                "acc_task_mean_pct": [30 + trial * 7919 % 1000 / 100 for trial in trials],
            }
            table = pa.concat_tables([one] * size).combine_chunks()
            for name, values in changed.items():
                place = table.column_names.index(name)
                table = table.set_column(place, table.field(name), pa.array(values, table.field(name).type))
            content = encode(table, fast=size == 1)
            store.folder.child("runs").write(Range(first, first + size - 1).file, content)
            first += size
    return store


def _peak_mb(folder: Path) -> float:
    code = (
        "import sys; from sweeper.store.results import open_results; open_results(sys.argv[1], 's').sql('FROM best');"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    command = [sys.executable, "-c", code, str(folder)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1024


def _times(rounds: int, what: Callable[[], object]) -> Times:
    found: Times = {"wall_s": [], "processor_s": []}
    for _ in range(rounds):
        wall, processor = time.perf_counter(), time.process_time()
        what()
        found["wall_s"].append(time.perf_counter() - wall)
        found["processor_s"].append(time.process_time() - processor)
    return found


if __name__ == "__main__":
    sys.exit(exit_code(main))
