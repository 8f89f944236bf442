"""A sweep without Ray: tests hand it the messages of workers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.sweeps import space_file
from sweeper.execution.job import Job, SetUp, pack_of_trial
from sweeper.execution.packing import Packing
from sweeper.execution.progress import Progress
from sweeper.execution.sweep import Sweep
from sweeper.search.space import Space, load_space
from sweeper.search.study import Study
from sweeper.store.store import Store


@dataclass
class Driver:
    """A sweep, what it works with, and the lines that it has said."""

    space: Space
    store: Store
    sweep: Sweep
    said: list[str]

    def pack(self, trial_id: str) -> list[int]:
        """Numbers of the configurations that a Ray trial is given."""
        trial = self.sweep.next_trial(trial_id)
        assert isinstance(trial, dict), f"no pack: {trial!r}"
        return list(pack_of_trial(trial))


def driver(folder: Path, *, packing: Packing, set_up: bool = False, **changes: Any) -> Driver:
    """The sweep of ``space_file(folder, **changes)``, nine configurations by default.

    ``set_up``: packs of up to 4 are to be measured and the first task of two seeds trained.
    """
    space = load_space(space_file(folder, **{"trials": 9, **changes}))
    store, said = Store(folder, space.name), list[str]()
    metric = space.spec.objective.metric
    progress = Progress(store.folder, space.spec.trials, 5, metric, said.append)
    job = Job(str(folder / space.name), space.spec.resources, metric)
    wanted = SetUp(space.configs({}), 4, 2) if set_up else None
    return Driver(space, store, Sweep(Study(space), job, store, progress, packing=packing, set_up=wanted), said)
