"""What tests of the trainer share: the smallest real run, a few seconds at most."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from trainer.config import RunConfig

# The networks of these tests are so small that threads only wait for each other. Commands started by tests inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

Tiny = Callable[..., RunConfig]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden numbers anew instead of comparing")


@pytest.fixture
def tiny() -> Tiny:
    """A complete run on digits in three tasks: ``tiny("finetune", seed=1, memory={"per_class": 0})``."""
    return tiny_run


def tiny_run(method: str, hyper: dict[str, Any] | None = None, **changes: Any) -> RunConfig:
    """``hyper``: of the method; ``changes``: sections merged into the defaults below, or whole fields."""
    fields: dict[str, Any] = {
        "data": {
            "source": "digits",
            "crop": 8,
            "augment": "random_crop",
            "pad": 1,
            "flip": False,
            "normalise": "half",
            "imbalance": {"ratio": 10, "max_per_class": 20},
        },
        "protocol": {"kind": "lfs", "tasks": 3},
        "net": {"name": "small"},
        "method": {"name": method, **(hyper or {})},
        "memory": {"per_class": 3},
        "optim": {"epochs": 2, "lr": 0.1, "milestones": [], "batch_size": 16},
        "seed": 0,
    }
    for name, change in changes.items():
        fields[name] = {**fields[name], **change} if isinstance(change, dict) else change
    return RunConfig.model_validate(fields)
