"""Runs small enough for a test, and their results without what a clock decides."""

from collections.abc import Iterable
from typing import Any

from trainer.config.run_config import RunConfig
from trainer.results.rows import RunResult

FEW_IMAGES: dict[str, Any] = {
    "imbalance": {"ratio": 4, "max_per_class": 8},
    "evaluation": {"split": "validation", "per_class": 4},
}
"""``data=FEW_IMAGES``: three tasks of 14, 16 and 10 images, measured on 4 of each class"""


def tiny_run(method: str, hyperparameters: dict[str, Any] | None = None, **changes: Any) -> RunConfig:
    """A complete run on digits in three tasks: ``tiny_run("finetune", seed=1, memory={"per_class": 0})``.

    ``hyperparameters``: of the method; ``changes``: sections merged into the defaults below, or whole fields.
    """
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
        "method": {"name": method, **(hyperparameters or {})},
        "memory": {"per_class": 3},
        "optim": {"epochs": 2, "lr": 0.1, "milestones": [], "batch_size": 16},
        "seed": 0,
    }
    for name, change in changes.items():
        fields[name] = {**fields.get(name, {}), **change} if isinstance(change, dict) else change
    return RunConfig.model_validate(fields)


def timeless(result: RunResult) -> dict[str, Any]:
    """All of a run without times: what must be equal where a run is repeated."""
    return without_times(result.model_dump())


def without_times(values: Any) -> Any:
    """Values of rows, but for those that a clock decides."""
    if isinstance(values, dict):
        return {k: without_times(v) for k, v in values.items() if not k.endswith(("_s", "_at"))}
    return [without_times(value) for value in values] if isinstance(values, list) else values


def accuracies(results: Iterable[RunResult]) -> list[list[Any]]:
    """Every accuracy of every run, after every task."""
    return [[(row.acc_by_task_pct, row.forgetting_pct) for row in result.tasks] for result in results]


def losses(results: Iterable[RunResult]) -> list[list[dict[str, float]]]:
    """Every named loss of every epoch of every run."""
    return [[row.terms for row in result.epochs] for result in results]
