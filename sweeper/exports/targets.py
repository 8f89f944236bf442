"""Where a sweep may be exported to: ``KIND:PLACE``, and the packages that each kind needs."""

import importlib.util
from collections.abc import Callable
from typing import NamedTuple

from sweeper.exports import csv_tables, mlflow_runs, optuna_storage, tensorboard_events
from sweeper.exports.source import Source
from trainer.errors import ConfigError


class Kind(NamedTuple):
    """A tool that sweeps are exported to."""

    write: Callable[[Source, str], str]
    """writes a sweep to a place, and returns the line that says what was written"""
    place: str
    """an example of a place"""
    package: str | None = None
    """what must be installed for it"""
    extra: str | None = None
    """the extra that installs it"""


KINDS = {
    "optuna": Kind(optuna_storage.write, "sqlite:///sweep.db"),
    "tensorboard": Kind(tensorboard_events.write, "out/tensorboard", "tensorboard", "tensorboard"),
    "mlflow": Kind(mlflow_runs.write, "out/mlruns", "mlflow", "mlflow"),
    "csv": Kind(csv_tables.write, "out/csv"),
}


class Target(NamedTuple):
    """A place of a kind."""

    kind: str
    place: str

    def write(self, source: Source) -> str:
        """Write the sweep there. Returns the line that says what was written. Raises UserError."""
        return KINDS[self.kind].write(source, self.place)


def parse(text: str) -> Target:
    """The target of ``KIND:PLACE``. Raises ConfigError for one that is none, or whose package is not installed."""
    kind, _, place = text.partition(":")
    examples = ", ".join(f"{name}:{known.place}" for name, known in KINDS.items())
    if kind not in KINDS:
        problem = f"no such target: {text!r}"
        raise ConfigError.unknown(problem, kind, tuple(KINDS), field="--to")
    if not place:
        raise ConfigError(f"{text!r} names no place", field="--to", allowed=examples)
    known = KINDS[kind]
    if known.package is not None and not _installed(known.package):
        problem = f"{kind} needs {known.package}: pip install 'imbalanced-cil-sweeper[{known.extra}]'"
        raise ConfigError(problem, field="--to")
    return Target(kind, place)


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # Python has noted that it cannot be imported
        return False
