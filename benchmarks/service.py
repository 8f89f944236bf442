"""Overhead of the service: configurations that train nothing, through Ray Tune, Optuna and the store.

``python -m benchmarks.service`` runs sweeps whose trials report at once what a run of one task would report. The
cluster is started beforehand; timing begins where a launch on a running cluster would begin.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from benchmarks import timing
from sweeper.execution.cluster import connected, fits
from sweeper.execution.job import Job, pack_of_trial
from sweeper.execution.messages import EndedTrial, TrialsEnded
from sweeper.execution.packing import Packing
from sweeper.execution.places import Places
from sweeper.execution.progress import Progress
from sweeper.execution.sweep import Sweep
from sweeper.execution.tune import run_trials
from sweeper.execution.worker import send
from sweeper.search.space import Resources, Space
from sweeper.search.space_file import load_space
from sweeper.search.study import Study
from sweeper.store.results import open_results
from sweeper.store.store import Store
from trainer.command import at_least
from trainer.errors import exit_code
from trainer.results.config_columns import config_values
from trainer.results.history import History
from trainer.results.rows import RunResult
from trainer.training.checkpoint import from_bytes

ROOT = Path(__file__).parents[1]
DIGITS = ROOT / "search_spaces" / "digits.yaml"
SPACE = {
    "base": str(ROOT / "runs" / "digits_lfs5.yaml"),
    "vary": {
        "method.alpha": {"type": "float", "low": 0.05, "high": 10.0, "log": True},
        "method.lambda": {"type": "float", "low": 0.05, "high": 5.0, "log": True},
        "method.temperature": {"type": "float", "low": 1.0, "high": 8.0},
    },
    "search": {"sampler": "TPESampler", "options": {"multivariate": True, "constant_liar": True}},
    "resources": {"cpu": 1},
    "name": "nothing",
}


def train_nothing(config: Mapping[str, Any], job: Job) -> None:
    """Report what a pack whose runs have one task would report, at once."""
    for number, (run,) in pack_of_trial(config).items():
        acc = 90 - abs(run.method.model_dump()["alpha"] - 1)
        result = RunResult(
            run_id=run.run_id,
            config_id=run.config_id,
            seed=run.seed,
            status="finished",
            split="validation",
            tasks_done=1,
            acc_task_mean_pct=acc,
            config=config_values(run),
        )
        ended = (EndedTrial(number=number, results=(result,)),)
        send(TrialsEnded(attempt="a", pack="none", ended=ended, training=False))


def sweep_s(space: Space, folder: str) -> tuple[float, float]:
    """Seconds to the first line that a trial gives rise to, and of the whole sweep."""
    started = time.perf_counter()
    said: list[float] = []
    store = Store(folder, space.name)
    progress = Progress(
        store.folder, space.spec.trials, 1, "acc_task_mean_pct", lambda line: said.append(time.perf_counter())
    )
    job = Job(f"{folder}/{space.name}", space.spec.resources, "acc_task_mean_pct")
    run_trials(
        Sweep(Study(space), job, store, progress, packing=Packing(1)),
        places=Places(space.spec.resources, own_cluster=True),
        check_stop=lambda: None,
        worker=train_nothing,
    )
    progress.end("finished")
    if progress.status.done != space.spec.trials:
        raise RuntimeError(f"{progress.status.done} of {space.spec.trials} configurations ended")
    return said[0] - started, time.perf_counter() - started


def launch_s(address: str) -> tuple[float, float]:
    """Seconds from the command to the first step of the task that all trials share, and to the first trial's own."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["-m", "sweeper.launch", str(DIGITS), "--trials", "1", "--results", folder, "--address", address]
        began = datetime.now(UTC)
        subprocess.run([sys.executable, *words], check=True, capture_output=True)
        (row,) = open_results(folder).sql("SELECT min(started_at) AS at FROM runs").rows()
        shared = next((Path(folder) / DIGITS.stem / "base").glob("*.pt"))
        first = History.model_validate_json(from_bytes(shared.read_bytes(), shared.name)["histories"][0]).started_at
        assert first is not None
    return (first - began).total_seconds(), (row["at"] - began).total_seconds()


def main(argv: Sequence[str] | None = None) -> int:
    parser = timing.parser("service", "What the service itself costs.", run_file=False)
    parser.add_argument("--configurations", type=at_least(1), default=1000, help="default: %(default)s")
    parser.add_argument("--address", help="address of a Ray cluster (default: start one, untimed)")
    parser.set_defaults(rounds=3)
    arguments = parser.parse_args(argv)
    shared, own = (
        "a launch, to the first step of the first task, which all share",
        "to its first trial's own first step",
    )
    first, whole, each = "configurations that train nothing: to the first", "all of them", "between two of them"
    found: timing.Seconds = {shared: [], own: [], first: [], whole: [], each: []}
    with connected(arguments.address) as cluster:
        room = fits(Resources(cpu=1))
        for _ in range(arguments.rounds):
            shared_s, own_s = launch_s(cluster)
            found[shared].append(shared_s)
            found[own].append(own_s)
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "nothing.yaml"
                file.write_text(yaml.safe_dump({**SPACE, "trials": arguments.configurations}))
                first_s, whole_s = sweep_s(load_space(file), folder)
            found[first].append(first_s)
            found[whole].append(whole_s)
            found[each].append((whole_s - first_s) / max(1, arguments.configurations - 1))
            print(f"first report after {first_s:.1f} s, all after {whole_s:.1f} s", flush=True)
    about = (
        f"{arguments.configurations} configurations that train nothing, TPE over three dimensions, {room} at a time; "
        f"{arguments.rounds} sweeps on one cluster, median (least to most). The launch is a command, of {DIGITS.name}."
    )
    table = [[what, timing.median_and_range(seconds)] for what, seconds in found.items()]
    timing.publish(arguments.name, [about], ("what", "s"), table, {"seconds": found})
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
