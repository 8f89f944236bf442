"""What tests share: the smallest real run, and a Ray cluster for the commands that need one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import sweeper.execution  # noqa: F401  (before anything imports Ray)
import trainer.methods
from support.runs import tiny_run
from trainer.config.run_config import RunConfig

# The networks of these tests are so small that threads only wait for each other. Commands started by tests inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# One commit, one answer: the same examples every time. ``make fuzz`` tries others.
settings.register_profile("same", derandomize=True)
settings.register_profile("others")
settings.load_profile("same")

Tiny = Callable[..., RunConfig]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden numbers anew instead of comparing")
    parser.addoption("--methods", type=Path, metavar="DIR", help="test the method files of this folder too")


def pytest_configure(config: pytest.Config) -> None:
    folder: Path | None = config.getoption("--methods")
    if folder is not None:
        if not folder.is_dir():
            raise pytest.UsageError(f"--methods {folder}: no such folder")
        trainer.methods.__path__.append(str(folder))


@pytest.fixture
def tiny() -> Tiny:
    """A complete run on digits in three tasks: ``tiny("finetune", seed=1, memory={"per_class": 0})``."""
    return tiny_run


@pytest.fixture(scope="session")
def session_cluster() -> Iterator[dict[str, str]]:
    """The environment in which commands reach a cluster of this session: two CPUs, a token, no dashboard."""
    from ray.cluster_utils import Cluster  # noqa: PLC0415  (a second that most tests need not spend)

    from sweeper.execution.cluster import use_fresh_token  # noqa: PLC0415

    use_fresh_token()
    token = os.environ["RAY_AUTH_TOKEN"]
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    yield {"RAY_ADDRESS": cluster.address, "RAY_AUTH_TOKEN": token}
    cluster.shutdown()


@pytest.fixture
def shared_cluster(session_cluster: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that the test starts run on one cluster for all tests, and start none: that saves each ten seconds.

    A test that kills or counts the processes of its cluster must not use it.
    """
    for name, value in session_cluster.items():
        monkeypatch.setenv(name, value)
