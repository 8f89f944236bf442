"""Configurations that are given, not searched, and trained in the same way."""

from collections.abc import Mapping, Sequence

from sweeper.search.outcome import Outcome
from sweeper.search.study import Suggestion
from trainer.config.run_config import RunConfig


class GivenConfigurations:
    """Configurations that are trained as a study's are, without a search: each once, none pruned."""

    def __init__(self, groups: Mapping[str, Sequence[RunConfig]], first: int) -> None:
        """``groups``: the runs of each configuration, by its label; ``first``: number of the first one."""
        self._labels = dict(enumerate(groups, first))
        self._waiting = [Suggestion(number, {}, groups[label], label) for number, label in self._labels.items()]
        self.outcomes: dict[str, Outcome] = {}
        """of those that have ended, by label"""

    def ask(self) -> Suggestion | None:
        """The next configuration; None after the last one."""
        return self._waiting.pop(0) if self._waiting else None

    @property
    def left(self) -> int:
        """How many configurations ``ask`` has still to return."""
        return len(self._waiting)

    def report(self, number: int, task: int, value: float) -> bool:
        """Note the metric after a task. Returns whether to prune: never."""
        return False

    def tell(self, number: int, outcome: Outcome) -> None:
        """Note that a configuration has ended."""
        self.outcomes[self._labels[number]] = outcome

    front = None
    """they are not searched"""

    def best(self) -> None:
        """Nothing: they are not searched."""
