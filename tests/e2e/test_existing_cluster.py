"""The same command on a cluster that is already running."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from support.clusters import running_cluster
from support.sweeps import launch, query, space_file, start, until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a cluster of one CPU that says it has a GPU."""
    with running_cluster(num_cpus=1, num_gpus=1) as cluster:
        yield cluster.address


def test_a_sweep_runs_there(address: str, tmp_path: Path) -> None:
    output = launch(space_file(tmp_path, trials=2), "--results", tmp_path / "results", "--address", address)
    assert "1 at a time" in output
    assert "[2/2]" in output
    assert query(tmp_path / "results", "SELECT count(*) AS n FROM runs WHERE status = 'finished'") == [{"n": 4}]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_only_ray_sees_is_one_line(address: str, tmp_path: Path) -> None:
    file = space_file(tmp_path, resources={"cpu": 1, "gpu": 0.5})
    output = launch(file, "--results", tmp_path / "results", "--address", address, code=2)
    assert "Ray has given this trial a GPU, and PyTorch sees none" in output.splitlines()[-1]
    assert "Traceback" not in output


@pytest.mark.parametrize("dimension", ["method.lambda", "optim.lr"], ids=["first task shared", "not shared"])
def test_a_trial_that_waits_says_what_the_cluster_lacks(address: str, tmp_path: Path, dimension: str) -> None:
    vary = {dimension: {"type": "float", "low": 0.01, "high": 0.1}}
    file = space_file(tmp_path, vary=vary, resources={"cpu": 3})
    process = start(file, "--results", tmp_path / "results", "--address", address)
    status = tmp_path / "results" / "s" / "status.json"
    until(process, lambda: status.exists() and bool(json.loads(status.read_text())["waiting"]))
    process.terminate()
    output, _ = process.communicate(timeout=60)
    (said,) = [line for line in output.splitlines() if line.startswith("waiting: ")]
    assert "needs 3 CPU" in said
    assert "1 CPU, 1 GPU" in said
    assert "stopped: " in output.splitlines()[-1]
