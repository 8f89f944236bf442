"""What tests share: the smallest real run, and a Ray cluster for the commands that need one."""

import os
import resource
import subprocess
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

import sweeper.execution  # noqa: F401  (before anything imports Ray)
import trainer.methods
from support.commands import Process
from support.runs import tiny_run
from trainer.config.run_config import RunConfig

# The networks of these tests are so small that threads only wait for each other. Commands started by tests inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)

subprocess.Popen = Process  # type: ignore[misc]  (which ``subprocess.run`` uses too)

# One commit, one answer: the same examples every time. ``make fuzz`` tries others.
settings.register_profile("same", derandomize=True)
settings.register_profile("others")
settings.load_profile("same")

UNMARKED_S = 20.0
"""what a test may take without the mark ``slow``, in seconds of processor time"""

Tiny = Callable[..., RunConfig]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden numbers anew instead of comparing")
    parser.addoption("--long", action="store_true", help="the long forms of tests: more instants, more damages")
    parser.addoption("--methods", type=Path, metavar="DIR", help="test the method files of this folder too")


def pytest_configure(config: pytest.Config) -> None:
    folder: Path | None = config.getoption("--methods")
    if folder is not None:
        if not folder.is_dir():
            raise pytest.UsageError(f"--methods {folder}: no such folder")
        trainer.methods.__path__.append(str(folder))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones first: a long test that begins last keeps one core idle."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test that belongs to the slow ones and does not say so: ``make test-fast`` counts on the mark."""
    subprocess._cleanup()  # a process of Ray's that ended earlier would be counted with this test's
    before = _processor_s()
    result = yield
    spent = _processor_s() - before
    if spent > UNMARKED_S and item.get_closest_marker("slow") is None:
        pytest.fail(f"{spent:.0f} seconds of processor time: mark it slow")
    return result


def _processor_s() -> float:
    """Of this process and of those that it has waited for."""
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


@pytest.fixture
def tiny() -> Tiny:
    """A complete run on digits in three tasks: ``tiny("finetune", seed=1, memory={"per_class": 0})``."""
    return tiny_run


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """Whether the long form of the test is wanted, which ``make chaos`` runs."""
    return bool(request.config.getoption("--long"))


@pytest.fixture(scope="session")
def session_cluster() -> Iterator[dict[str, str]]:
    """The environment in which commands reach a cluster of this session: two CPUs, a token, no dashboard.

    Like a submitted job's, whose code is on the nodes: sending it costs more than the training of these tests.
    """
    from support.clusters import running_cluster  # noqa: PLC0415  (a second that most tests need not spend)

    with running_cluster(num_cpus=2) as cluster:
        token = os.environ["RAY_AUTH_TOKEN"]
        yield {"RAY_ADDRESS": cluster.address, "RAY_AUTH_TOKEN": token, "RAY_JOB_CONFIG_JSON_ENV_VAR": "{}"}


@pytest.fixture
def shared_cluster(
    session_cluster: dict[str, str], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Commands that the test starts run on one cluster for all tests, and start none: that saves each ten seconds.

    A test that kills or counts the processes of its cluster must not use it.
    """
    assert request.node.get_closest_marker("slow"), "a test that needs a cluster is marked slow"
    for name, value in session_cluster.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def s3_address() -> Iterator[str]:
    """HOST:PORT of an S3 server of this session."""
    from benchmarks.s3_server import s3_server  # noqa: PLC0415  (a second that most tests need not spend)

    with s3_server() as address:
        yield address


@pytest.fixture
def s3(s3_address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of an empty folder on an S3 server; commands that the test starts have its credentials."""
    from benchmarks.s3_server import BUCKET, ENVIRONMENT  # noqa: PLC0415

    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{uuid.uuid4().hex[:8]}?endpoint_override={s3_address}&scheme=http&region=us-east-1"
