"""A real sweep's best promoted: killed in the middle, gone on with, written, verified and drawn."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweeper import report
from sweeper.files import Folder
from sweeper.query import open_results
from sweeper.sweep_file import SweepFile

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
pytestmark = pytest.mark.slow

# The paper's lambda, and a value that is known to do better on digits.
SPACE: dict[str, Any] = {
    "base": str(ROOT / "runs" / "digits_lfs5.yaml"),
    "set": {"optim.epochs": 10, "optim.milestones": [8]},
    "vary": {"method.lambda": {"type": "float", "low": 0.05, "high": 5.0, "log": True}},
    "first": [{"method.lambda": 0.7}, {"method.lambda": 0.06}],
    "seeds": [0],
    "trials": 2,
}


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def command(*arguments: str | Path, code: int = 0) -> str:
    process = start(*arguments)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == code, output
    return output


def stored(results: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (
        open_results(results)
        .sql("SELECT run_id, finished_at FROM trials WHERE sweep = 's-promotion' ORDER BY run_id")
        .arrow()
        .to_pylist()
    )
    return rows


def test_killed_promoted_verified_drawn(tmp_path: Path) -> None:
    results, runs = tmp_path / "results", tmp_path / "runs"
    space = tmp_path / "s.yaml"
    space.write_text(yaml.safe_dump(SPACE))
    command("sweeper.launch", space, "--results", results)
    promote = ("sweeper.promote", "s", "--results", results, "--runs", runs, "--seeds", "4")

    process = start(*promote)
    deadline = time.monotonic() + 120
    while not list((results / "s-promotion" / "trials").glob("part-*")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = stored(results)
    assert before

    output = command(*promote)
    assert "promoted: " in output
    after = stored(results)
    assert all(row in after for row in before), "a stored run was trained again"
    # Two candidates on validation, the leader and the base on test, four seeds each, each once.
    assert len(after) == len({row["run_id"] for row in after}) == 16

    file = runs / "s.yaml"
    provenance = yaml.safe_load(file.read_text())["provenance"]
    assert provenance["compared_with"]["difference_interval_pct"][0] > 0
    assert yaml.safe_load(file.read_text())["method"]["lambda"] == 0.06
    verified = command("trainer.run", file, "--verify")
    assert "verified: acc_task_mean_pct is the claimed one for every seed" in verified
    # Claims that are ten points off, in every seed.
    off = {seed: value - 10 for seed, value in provenance["by_seed_pct"].items()}
    content = yaml.safe_load(file.read_text())
    content["provenance"]["by_seed_pct"] = off
    file.write_text(yaml.safe_dump(content))
    assert "not verified: the means differ by 10.000" in command("trainer.run", file, "--verify", code=1)

    drawn = report.figure(SweepFile.read(Folder.at(results).child("s")), open_results(results))
    dimension, growth, searched, tested = drawn.axes
    assert dimension.get_xlabel() == "method.lambda"
    assert dimension.get_xscale() == "log"
    each, best = (list(line.get_ydata()) for line in growth.get_lines()[:2])
    assert best == list(accumulate(each, max))
    assert [text.get_text() for text in searched.get_legend().get_texts()] == ["first (trial 0)", "best (trial 1)"]
    assert [text.get_text() for text in tested.get_legend().get_texts()] == ["the sweep's base", "trial 1"]
    command("sweeper.report", "s", "--results", results, "--out", tmp_path / "figures")
    assert (tmp_path / "figures" / "s.png").read_bytes().startswith(b"\x89PNG")
    assert "no configuration has finished" in _nothing_to_draw(tmp_path, results)


def _nothing_to_draw(tmp_path: Path, results: Path) -> str:
    empty = tmp_path / "empty" / "s"
    empty.mkdir(parents=True)
    (empty / "space.yaml").write_bytes((results / "s" / "space.yaml").read_bytes())
    return command("sweeper.report", "s", "--results", empty.parent, code=2)
