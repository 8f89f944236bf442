"""Processes and nodes that are lost during a sweep cost time, and nothing else."""

import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from benchmarks.lost_nodes import PROMPT, Launched, add_node, lose
from support.clusters import running_cluster
from support.sweeps import query, space_file, until

pytestmark = pytest.mark.slow

SHORT = ["raylet killed", "node drained"]
LONG = ["process killed", "process told to end", *SHORT, "node stopped"]  # noticed late: the other node trains on
NOTICED = {"node drained", "process told to end"}


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path leaves room for the names of sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield Path(name)


@pytest.fixture
def cluster(short: Path) -> Iterator[Cluster]:
    """A head that trains nothing, and two nodes of one CPU."""
    with running_cluster(num_cpus=0, _system_config=PROMPT) as made:
        for _ in range(2):
            add_node(made, short)
        yield made


def test_every_configuration_ends_finished_once_whatever_is_lost(
    cluster: Cluster, short: Path, tmp_path: Path, long: bool
) -> None:
    harms = LONG if long else SHORT
    trials = len(harms) + 2
    results, rng, found = tmp_path / "results", random.Random(0), list[dict[str, Any]]()
    longer = {"optim.epochs": 16, "optim.milestones": [12], "data.imbalance.max_per_class": 40}
    pruning = {"pruner": "MedianPruner", "options": {"n_startup_trials": 100}}  # it prunes nothing, and is asked
    file = space_file(tmp_path, trials=trials, resources={"cpu": 1, "pack": 1}, retries=0, set=longer, pruning=pruning)
    launched = Launched(file, results, cluster)

    def trains() -> bool:
        """Whether another configuration is stored, and one has finished some tasks."""
        assert launched.process.poll() is None, launched.output()
        if launched.stored() <= len(found):
            return False
        running = json.loads((results / "s" / "status.json").read_text())["running"]
        return any(0 < one["task"] < 3 for one in running)

    for harm in harms:
        until(launched.process, trains)
        found.append(lose(harm, launched, short, rng, alongside_s=1.0) or {})
    launched.end()
    assert [one["harm"] for one in found] == harms
    assert {one["harm"] for one in found if one["in_time"]} == NOTICED & set(harms)
    rows = query(results, "SELECT trial, seed, status FROM runs ORDER BY ALL")
    assert rows == [{"trial": t, "seed": s, "status": "finished"} for t in range(trials) for s in (0, 1)]
