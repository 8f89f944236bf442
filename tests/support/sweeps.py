"""Sweeps as users run them: real commands, a real Ray cluster, real Parquet."""

import contextlib
import importlib
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from support.commands import assert_no_traceback
from sweeper.execution.cluster import AuthenticationTokenLoader
from sweeper.store.results import open_results
from trainer.errors import exit_code

ROOT = Path(__file__).parents[2]
_LONGEST_S = 240
OWN = {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}


def space_file(folder: Path, **changes: Any) -> Path:
    """A search of seconds on digits, one Ray trial at a time: a process of its own costs more than its training."""
    content: dict[str, Any] = {
        "base": str(ROOT / "runs" / "digits_lfs5.yaml"),
        "set": {"optim.epochs": 4, "optim.milestones": [3], "data.imbalance.max_per_class": 40},
        "vary": {
            "method.alpha": {"type": "float", "low": 0.05, "high": 10.0, "log": True},
            "method.lambda": {"type": "float", "low": 0.05, "high": 5.0, "log": True},
        },
        "seeds": [0, 1],
        "search": {"sampler": "RandomSampler", "seed": 1},
        "trials": 6,
        "concurrency": 1,
        "name": "s",
    }
    content = {k: v for k, v in (content | changes).items() if v is not None}
    file = folder / "s.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file


def start(*arguments: str | Path, command: str = "sweeper.launch", root: Path = ROOT) -> subprocess.Popen[str]:
    """Start a command of this project, or of the copy at ``root``; stdout and stderr are one stream."""
    words = [sys.executable, "-m", command, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(words, cwd=root, env=os.environ | OWN, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def ended(*arguments: str | Path, command: str = "sweeper.launch", code: int = 0, root: Path = ROOT) -> str:
    """Run a command to its end, which must have this exit code. Returns what it prints.

    In a process of its own, unless it uses a cluster that other tests use too.
    """
    if root == ROOT and "RAY_ADDRESS" in os.environ:
        returned, output = run_here(command, arguments)
    else:
        process = start(*arguments, command=command, root=root)
        output, _ = process.communicate(timeout=_LONGEST_S)
        returned = process.returncode
    assert returned == code, output
    assert_no_traceback(output, returned)
    return output


def run_here(command: str, arguments: Sequence[str | Path]) -> tuple[int, str]:
    """Run a command in this process, which has imported all: that takes a new one longer than these sweeps train.

    Returns its exit code and what it prints. On the cluster that the environment names.
    """
    AuthenticationTokenLoader.instance().reset_cache()  # of the cluster that the environment names
    main = importlib.import_module("benchmarks.paper.__main__" if command == "benchmarks.paper" else command).main
    written = io.BytesIO()
    output = io.TextIOWrapper(written, "utf-8", write_through=True)

    def give_up(number: int, frame: object) -> None:
        raise TimeoutError(written.getvalue().decode())

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(_LONGEST_S)
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            returned = exit_code(lambda: main([str(word) for word in arguments]))
        except SystemExit as refused:  # by argparse
            returned = int(refused.code or 0)
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)
    return returned, written.getvalue().decode()


def launch(*arguments: str | Path, code: int = 0, root: Path = ROOT) -> str:
    return ended(*arguments, code=code, root=root)


def query(results: str | Path, sql: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = open_results(results).sql(sql).arrow().to_pylist()
    return rows


def accuracies(results: str | Path) -> dict[tuple[int, int], tuple[str, float]]:
    rows = query(results, "SELECT trial, seed, params_json, acc_task_mean_pct AS acc FROM runs ORDER BY ALL")
    assert len({(r["trial"], r["seed"]) for r in rows}) == len(rows), "a run is stored twice"
    return {(r["trial"], r["seed"]): (r["params_json"], r["acc"]) for r in rows}


def until(process: subprocess.Popen[str], happened: Callable[[], bool], timeout_s: float = 240) -> None:
    """Wait for something to happen while the command runs; if it does not, the command is killed."""
    deadline = time.monotonic() + timeout_s
    while not happened():
        assert process.poll() is None, process.communicate()[0]
        if time.monotonic() > deadline:
            process.kill()
            raise AssertionError(f"it did not happen: {process.communicate()[0]}")
        time.sleep(0.05)


def files(results: Path, sweep: str = "s") -> dict[Path, int]:
    """The files of a sweep's configurations, with the time at which each was written."""
    return {file: file.stat().st_mtime_ns for file in (results / sweep / "runs").glob("*.parquet")}
