"""What tests of the trainer share: the smallest real run, a few seconds at most."""

from __future__ import annotations

import os
from collections.abc import Callable
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
