"""A sweep without Ray: tests hand it the messages of workers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.sweeps import space_file
from sweeper.execution.job import Job, SetUp, pack_of_trial
from sweeper.execution.packing import Packing
from sweeper.execution.progress import Progress
from sweeper.execution.sweep import Lookup, Sweep
from sweeper.search.space import Space
from sweeper.search.space_file import load_space
from sweeper.search.study import Study
from sweeper.store.store import Store


class ListenedStudy(Study):
    """A study that keeps what it is told after tasks, and prunes as ``answers`` say, where there are any left."""

    def __init__(self, space: Space) -> None:
        super().__init__(space)
        self.steps: dict[int, dict[int, float]] = {}
        self.answers: list[bool] = []

    def report(self, number: int, task: int, value: float) -> bool:
        self.steps.setdefault(number, {})[task] = value
        prune = super().report(number, task, value)
        return self.answers.pop(0) if self.answers else prune


@dataclass
class Clock:
    """A clock that tests move."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Driver:
    """A sweep, what it works with, and the lines that it has said."""

    space: Space
    store: Store
    study: ListenedStudy
    sweep: Sweep
    said: list[str]
    published: list[list[int]]
    """trials pruned, by task reported"""
    clock: Clock

    def pack(self, trial_id: str) -> list[int]:
        """Numbers of the configurations that a Ray trial is given."""
        trial = self.sweep.next_trial(trial_id)
        assert isinstance(trial, dict), f"no pack: {trial!r}"
        return list(pack_of_trial(trial))


def driver(
    folder: Path,
    *,
    packing: Packing,
    set_up: bool = False,
    reuses_first_tasks: bool = False,
    lookup: Lookup = lambda run_ids: None,
    retries: int = 2,
    fail_fast: int | None = None,
    **changes: Any,
) -> Driver:
    """The sweep of ``space_file(folder, **changes)``, nine configurations by default.

    ``set_up``: packs of up to 4 are to be measured and the first task of two seeds trained.
    """
    space = load_space(space_file(folder, **{"trials": 9, **changes}))
    store, study, said, published = Store(folder, space.name), ListenedStudy(space), list[str](), list[list[int]]()
    metric = space.spec.objective.metric
    progress = Progress(store.folder, space.spec.trials, 5, metric, said.append)
    job = Job(str(folder / space.name), space.spec.resources, metric, reuses_first_tasks)
    clock = Clock()
    sweep = Sweep(
        study,
        job,
        store,
        progress,
        packing=packing,
        goals=space.goals,
        set_up=SetUp(space.configs({}), 4, 2) if set_up else None,
        budget=space.spec.budget,
        retries=retries,
        fail_fast=fail_fast,
        lookup=lookup,
        clock=clock,
        publish=lambda pack, task, numbers: published.append(numbers),
    )
    return Driver(space, store, study, sweep, said, published, clock)
