"""A cluster that grows and shrinks: a sweep asks for the machines that it can use, and lets them go."""

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from support.clusters import growing_cluster
from support.sweeps import accuracies, launch, query, space_file, start

pytestmark = pytest.mark.slow


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path leaves room for the names of sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield Path(name)


def nodes() -> int:
    """Nodes that can train."""
    return sum(node["Alive"] and node["Resources"].get("CPU", 0) > 0 for node in ray.nodes())


def test_a_sweep_grows_its_cluster_and_lets_it_go(short: Path, tmp_path: Path, long: bool) -> None:
    most, trials = (4, 12) if long else (2, 4)
    longer = {"optim.epochs": 16, "optim.milestones": [12], "data.imbalance.max_per_class": 40}
    how: dict[str, Any] = {"set": longer, "trials": trials, "resources": {"cpu": 1, "pack": 1}, "concurrency": None}
    file = space_file(tmp_path, **how)
    with growing_cluster(short, most=most, idle_s=3) as address:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        try:
            assert nodes() == 0
            process = start(file, "--results", tmp_path / "results", "--address", address)
            seen, busiest = 0, 0
            while process.poll() is None:
                seen = max(seen, nodes())
                status = tmp_path / "results" / "s" / "status.json"
                busiest = max(busiest, len(json.loads(status.read_text())["running"]) if status.exists() else 0)
                time.sleep(0.2)
            output, _ = process.communicate()
            assert process.returncode == 0, output
            assert (seen, busiest) == (most, most), output
            assert f"the cluster has changed: {most} at a time" in output
            deadline = time.monotonic() + 60
            while nodes():
                assert time.monotonic() < deadline, "nodes that nobody uses are kept"
                time.sleep(0.2)
        finally:
            ray.shutdown()
    rows = query(tmp_path / "results", "SELECT trial, seed, status FROM runs ORDER BY ALL")
    assert rows == [{"trial": t, "seed": s, "status": "finished"} for t in range(trials) for s in (0, 1)]
    if long:
        launch(file, "--results", tmp_path / "fixed")
        assert accuracies(tmp_path / "results") == accuracies(tmp_path / "fixed")
