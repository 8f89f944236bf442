"""What the service itself costs: configurations that train nothing, through Ray Tune, Optuna and the store.

``python -m benchmarks.service``: sweeps whose trials report at once what a run of one task would have to report. The
cluster is there before; what is timed begins where a launch on it would.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray
import yaml
from ray import tune

from benchmarks import timing
from sweeper.execution.cluster import connected, fits
from sweeper.execution.sweep import Driver
from sweeper.execution.trial import Job
from sweeper.execution.tune import fit
from sweeper.query import open_results
from sweeper.search.space import Space, load_space
from sweeper.store.store import Store
from trainer.errors import exit_code
from trainer.results.columns import config_row
from trainer.training.checkpoint import unpack

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
    for entry in config["pack"]:
        (run,) = job.space.configs(entry["params"])
        acc = 90 - abs(entry["params"]["method.alpha"] - 1)
        ids = {"run_id": run.run_id, "config_id": run.config_id, "seed": run.seed}
        done = {"status": "finished", "split": "validation", "tasks_done": 1, "acc_task_mean_pct": acc}
        tasks = [{**ids, "task": 0, "acc_task_mean_pct": acc}]
        result = {"row": {**ids, **done, **config_row(run)}, "tasks": tasks, "epochs": [], "classes": []}
        ended = [{"number": entry["number"], "results": [result]}]
        tune.report({"report": json.dumps({"attempt": "a", "pack": "none", "ended": ended, "training": False})})


def sweep_s(space: Space, folder: str) -> tuple[float, float]:
    """Seconds to the first line that a trial gives rise to, and of the whole sweep."""
    started = time.perf_counter()
    said: list[float] = []
    job = Job(space, f"{folder}/{space.name}", None)
    store = Store(folder, space.name)
    driver = Driver(job, store, 1, lambda line: said.append(time.perf_counter()), lambda asked: None)
    driver.begin()
    fit(driver, train_nothing, fits(space.spec.resources), lambda: None, lambda: None)
    driver.end("finished")
    if driver.status.done != space.spec.trials:
        raise RuntimeError(f"{driver.status.done} of {space.spec.trials} configurations ended")
    return said[0] - started, time.perf_counter() - started


def launch_s(address: str) -> tuple[float, float]:
    """Seconds from the command to the first step of the task that all trials share, and to the first trial's own."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["-m", "sweeper.launch", str(DIGITS), "--trials", "1", "--results", folder, "--address", address]
        began = datetime.now(UTC)
        subprocess.run([sys.executable, *words], check=True, capture_output=True)
        (row,) = open_results(folder).sql("SELECT min(started_at) AS at FROM trials").arrow().to_pylist()
        shared = next((Path(folder) / DIGITS.stem / "base").glob("*.pt"))
        first = datetime.fromisoformat(unpack(shared.read_bytes(), shared.name)["histories"][0]["started_at"])
    return (first - began).total_seconds(), (row["at"] - began).total_seconds()


def main(argv: Sequence[str] | None = None) -> int:
    parser = timing.parser("service", "What the service itself costs.", run_file=False)
    parser.add_argument("--configurations", type=int, default=1000, help="default: %(default)s")
    parser.add_argument("--address", help="of a Ray cluster (default: one is started here, and not timed)")
    parser.set_defaults(rounds=3)
    arguments = parser.parse_args(argv)
    shared, own = (
        "a launch, to the first step of the first task, which all share",
        "to its first trial's own first step",
    )
    first, whole, each = "configurations that train nothing: to the first", "all of them", "between two of them"
    found: timing.Seconds = {shared: [], own: [], first: [], whole: [], each: []}
    with connected(arguments.address):
        room = int(ray.cluster_resources()["CPU"])
        cluster = ray.get_runtime_context().gcs_address
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
    table = [[what, timing.spread(seconds)] for what, seconds in found.items()]
    timing.publish(arguments.name, [about], ("what", "s"), table, {"seconds": found})
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
