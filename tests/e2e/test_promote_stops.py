"""A promotion that is told to stop says so in a line, lets go of its results, and goes on when it is started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
pytestmark = pytest.mark.slow


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def test_a_stopped_promotion_is_one_line_and_goes_on(tmp_path: Path) -> None:
    space = tmp_path / "s.yaml"
    content = {
        "base": str(ROOT / "runs" / "digits_lfs5.yaml"),
        "set": {"optim.epochs": 4, "optim.milestones": [3]},
        "vary": {"method.lambda": {"type": "float", "low": 0.05, "high": 5.0}},
        "trials": 1,
    }
    space.write_text(yaml.safe_dump(content))
    searched, _ = start("sweeper.launch", space, "--results", tmp_path / "results").communicate(timeout=240)
    assert "1 of 1 configurations" in searched

    promote = ("sweeper.promote", "s", "--results", tmp_path / "results", "--runs", tmp_path / "runs", "--seeds", "2")
    process = start(*promote)
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first.startswith("the best 1 of 1 again")
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=60)
    assert rest == "stopped: what has ended is stored; the same command goes on\n"
    assert process.returncode == 128 + signal.SIGTERM

    again, _ = start(*promote).communicate(timeout=240)
    assert again.startswith(first), "the results are still held"
    assert "leads; all training images" in again
