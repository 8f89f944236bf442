"""Callbacks: reports after each epoch, task and run."""

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from trainer.results.rows import RunResult, TaskRow
from trainer.training.loop import EpochReport


@dataclass(frozen=True)
class MemberReport:
    """One run after one task."""

    position: int
    """in the list of configurations"""
    status: str
    """running, finished or diverged"""
    metrics: TaskRow
    """what was measured after this task"""


@dataclass(frozen=True)
class TaskReport:
    """All live runs after one task."""

    task: int
    tasks: int
    members: tuple[MemberReport, ...]


class Observer:
    """Receives reports while runs are trained. Override the callbacks that you need."""

    def on_step(self) -> bool:
        """After every step; where it returns True, a checkpoint is written and ``train`` raises TrainingStopped."""
        return False

    def on_epoch(self, report: EpochReport) -> None:
        """After every epoch."""

    def on_task(self, report: TaskReport) -> Collection[int]:
        """After every task; returns the positions of the configurations to prune now."""
        return ()

    def on_resume(self, reports: Sequence[TaskReport]) -> None:
        """Before training continues from a checkpoint: the tasks completed by then, in order."""

    def on_unreadable(self, problem: str) -> None:
        """Where a checkpoint cannot be read: training begins without it."""
        warnings.warn(problem, stacklevel=2)

    def on_end(self, results: Mapping[int, RunResult]) -> None:
        """As soon as runs have ended, pruned and diverged ones too: their results, by position."""
