"""What is exported: a sweep, its search space, and its trials that have ended."""

from collections.abc import Sequence
from dataclasses import dataclass

from sweeper.exports.trials import Trial, ended_trials
from sweeper.search.space import Space
from sweeper.store.folder import Folder
from sweeper.store.results import Results, open_results
from sweeper.store.sweep_file import read_space
from sweeper.store.sweeps import find_sweep
from trainer.errors import StoreError


@dataclass(frozen=True)
class Source:
    """A sweep with at least one trial that has ended."""

    space: Space
    trials: Sequence[Trial]
    results: Results

    @property
    def name(self) -> str:
        """Name of the sweep."""
        return self.space.name


def read(results: str, sweep: str) -> Source:
    """Read a sweep. Raises StoreError if there is none of this name, or nothing of it has ended."""
    folder: Folder = find_sweep(results, sweep)
    space = read_space(folder)
    trials = ended_trials(results, space)
    if not trials:
        raise StoreError(f"{folder}: nothing to export: no configuration has ended")
    return Source(space, trials, open_results(results, sweep))
