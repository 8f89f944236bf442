"""Processes and nodes that are lost during a sweep cost time, and nothing else."""

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from benchmarks.kills import trial_processes
from support.clusters import running_cluster
from support.sweeps import files, query, space_file, start, until

pytestmark = pytest.mark.slow

NODE = {"num_cpus": 1}
PROMPT = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 3000,
    "health_check_failure_threshold": 3,
}
"""a lost node is noticed within seconds"""


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head that trains nothing, and two nodes of one CPU."""
    with running_cluster(num_cpus=0, _system_config=PROMPT) as made:
        for _ in range(2):
            made.add_node(**NODE)
        yield made


def test_every_configuration_ends_finished_once_whatever_is_lost(cluster: Cluster, tmp_path: Path) -> None:
    results, draw = tmp_path / "results", random.Random(0)
    file = space_file(tmp_path, trials=8, resources={"cpu": 1, "pack": 1}, retries=0)
    process = start(file, "--results", results, "--address", cluster.address)
    for victim in ("process", "node", "process", "node", "process", "process"):
        until(process, lambda: bool(trial_processes(os.getpid())))
        if victim == "process":
            os.kill(draw.choice(trial_processes(os.getpid())), signal.SIGKILL)
        else:
            cluster.remove_node(draw.choice(sorted(cluster.worker_nodes, key=str)), allow_graceful=False)
            cluster.add_node(**NODE)
        before = len(files(results))
        until(process, lambda before=before: len(files(results)) > before)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert "was lost; " in output
    rows = query(results, "SELECT trial, seed, status FROM runs ORDER BY ALL")
    assert rows == [{"trial": t, "seed": s, "status": "finished"} for t in range(8) for s in (0, 1)]
