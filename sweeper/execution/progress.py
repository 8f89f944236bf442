"""The progress of a sweep: counted, written to its status file after each change, and printed line by line."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from sweeper.search.space import Params, format_params
from sweeper.search.study import Outcome, Suggestion
from sweeper.store.folder import Folder
from sweeper.store.status_file import Best, Running, Status, format_duration
from trainer.results.rows import RunResult
from trainer.results.spread import mean_std_over_seeds


class Progress:
    """Counts, ``status.json`` and lines of one launch."""

    def __init__(self, folder: Folder, total: int, tasks: int, metric: str, say: Callable[[str], None]) -> None:
        """``total`` configurations whose runs have ``tasks`` tasks; ``say`` prints a line."""
        self.status, self.say = Status(total=total), say
        self._folder, self._tasks, self._metric = folder, tasks, metric
        self._started, self._done_before = time.time(), 0
        self._values: dict[int, dict[int, float]] = {}

    def begin(self) -> None:
        """Start the clock: everything counted so far is of earlier launches."""
        self._done_before, self._started = self.status.done, time.time()
        self.write(())

    def elapsed_hours(self) -> float:
        """Time since ``begin``."""
        return (time.time() - self._started) / 3600

    def count(self, outcome: Outcome, runs: Iterable[Mapping[str, float | None]]) -> None:
        """Add a configuration that has ended; ``runs``: device_s and saved_s of each."""
        now = self.status
        now.done += 1
        now.failed += outcome.status == "failed"
        now.pruned += outcome.status == "pruned"
        now.diverged += outcome.status == "diverged"
        for run in runs:
            now.device_s += run["device_s"] or 0.0
            now.saved_s += run["saved_s"] or 0.0

    def step(self, number: int, task: int, value: float) -> None:
        """Note the objective of a configuration after a task."""
        self._values.setdefault(number, {})[task] = value

    def ended(self, suggestion: Suggestion, outcome: Outcome, best: tuple[int, Params, float] | None) -> None:
        """Count a configuration that has ended and print its outcome."""
        self._values.pop(suggestion.number, None)
        self.count(outcome, [{"device_s": r.device_s, "saved_s": r.saved_s} for r in outcome.results])
        self._note_best(best)
        left = self._eta_s()
        eta = f", {format_duration(left)} left" if left and self.status.done < self.status.total else ""
        now = f"   best {best[2]:.2f} (trial {best[0]})" if best else ""
        count = f"[{self.status.done}/{self.status.total}]"
        what = suggestion.label or f"trial {suggestion.number}: {format_params(suggestion.params)}"
        self.say(f"{count} {what}: {self._in_words(outcome)}{now}{eta}")

    def wait(self, why: str | None) -> None:
        """Print what trials wait for; None: they no longer wait."""
        self.status.waiting = why
        self.status.write(self._folder)
        if why:
            self.say(f"waiting: {why}")

    def write(self, running: Iterable[Suggestion], best: tuple[int, Params, float] | None = None) -> None:
        """Write ``status.json``."""
        self.status.running = []
        for suggestion in running:
            done = self._values.get(suggestion.number, {})
            value = done[max(done)] if done else None
            self.status.running.append(Running(suggestion.number, suggestion.params, len(done), self._tasks, value))
        self._note_best(best)
        self.status.eta_s = self._eta_s()
        self.status.write(self._folder)

    def end(self, state: Literal["finished", "stopped", "failed"]) -> None:
        """Write that this launch is over."""
        self.status.state, self.status.running = state, []
        self.status.write(self._folder)

    def _note_best(self, best: tuple[int, Params, float] | None) -> None:
        if best is not None:
            self.status.best = Best(best[0], best[2], best[1])

    def _in_words(self, outcome: Outcome) -> str:
        if outcome.value is not None:
            return mean_std_over_seeds([getattr(result, self._metric) for result in outcome.results])
        if outcome.status not in ("failed", "diverged"):
            return outcome.status
        return f"{outcome.status} ({next((r.error for r in outcome.results if r.error), 'no reason given')})"

    def _eta_s(self) -> float | None:
        here = self.status.done - self._done_before
        if not here:
            return None
        return (time.time() - self._started) / here * (self.status.total - self.status.done)


def packing_saved_s(results: Iterable[RunResult], gain: float | None) -> list[float | None]:
    """Device seconds that each run saved by being trained in a pack; None where that was not measured."""
    return [None if gain is None else (result.device_s or 0.0) * (gain - 1) for result in results]
