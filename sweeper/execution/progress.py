"""The progress of a sweep: counted, written to its status file after each change, and printed line by line."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from sweeper.execution.notifier import Event, ignore
from sweeper.search.front import Front
from sweeper.search.outcome import Outcome
from sweeper.search.space import Params
from sweeper.search.study import Suggestion
from sweeper.search.words import format_params
from sweeper.store.folder import Folder
from sweeper.store.status_file import Best, OnFront, Running, Status, format_duration
from trainer.results.spread import mean_std_over_seeds


class Progress:
    """Counts, ``status.json`` and lines of one launch."""

    def __init__(
        self,
        folder: Folder,
        total: int,
        tasks: int,
        metric: str,
        say: Callable[[str], None],
        notify: Callable[[Event], None] = ignore,
    ) -> None:
        """``total`` configurations whose runs have ``tasks`` tasks; ``say`` prints a line; ``notify`` takes events."""
        self.status, self.say, self._notify = Status(total=total), say, notify
        self._began = False
        self._folder, self._tasks, self._metric = folder, tasks, metric
        self._done_before = 0

    def begin(self) -> None:
        """Start the clock: everything counted so far is of earlier launches."""
        self._done_before, self.status.started_at = self.status.done, time.time()
        self._began = True
        self.write(())

    def elapsed_hours(self) -> float:
        """Time since ``begin``."""
        return (time.time() - self.status.started_at) / 3600

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

    def note_best(self, best: tuple[int, Params, float] | None, front: Front | None = None) -> None:
        """Note number, parameters and objective of the best configuration so far; None: there is none.

        ``front`` of several objectives.
        """
        if front is not None:
            self.status.metrics = [objective.metric for objective in front.objectives]
            self.status.front = [OnFront(one.trial, list(one.values), one.params) for one in front.points]
            self.status.hypervolume, self.status.worst = front.hypervolume, front.worst
        if best is not None:
            self.status.best = Best(best[0], best[2], best[1])

    def ended(
        self,
        suggestion: Suggestion,
        outcome: Outcome,
        best: tuple[int, Params, float] | None,
        front: Front | None = None,
    ) -> None:
        """Count a configuration that has ended and print its outcome."""
        self.count(outcome, [{"device_s": r.device_s, "saved_s": r.saved_s} for r in outcome.results])
        before = self.status.best
        self.note_best(best, front)
        if outcome.value is not None:
            came_to = mean_std_over_seeds([getattr(result, self._metric) for result in outcome.results])
            came_to += "".join(f", {metric} {value:.2f}" for metric, value in outcome.others.items())
            if outcome.violated:
                came_to += f" (violates {', '.join(outcome.violated)})"
        elif outcome.status in ("failed", "diverged"):
            came_to = f"{outcome.status} ({next((r.error for r in outcome.results if r.error), 'no reason given')})"
        else:
            came_to = outcome.status
        left = self._eta_s()
        eta = f", {format_duration(left)} left" if left and self.status.done < self.status.total else ""
        now = f"   best {best[2]:.2f} (trial {best[0]})" if best else ""
        now += f", front of {len(front.points)}" if front is not None and front.points else ""
        what = suggestion.label or f"trial {suggestion.number}: {format_params(suggestion.params)}"
        self.say(f"[{self.status.done}/{self.status.total}] {what}: {came_to}{now}{eta}")
        self._tell("failed" if outcome.status in ("failed", "diverged") else "finished", suggestion, outcome, came_to)
        if best and best[0] == suggestion.number and (before is None or before.trial != best[0]):
            self._tell("new best", suggestion, outcome, came_to)

    def _tell(self, event: str, suggestion: Suggestion, outcome: Outcome, came_to: str) -> None:
        sweep, best = self._folder.name, self.status.best
        self._notify(
            {
                "event": event,
                "sweep": sweep,
                "trial": suggestion.number,
                "params": dict(suggestion.params),
                "status": outcome.status,
                "metric": self._metric,
                "value": outcome.value,
                "error": next((result.error for result in outcome.results if result.error), None),
                "best_trial": best and best.trial,
                "best_value": best and best.value,
                "done": self.status.done,
                "total": self.status.total,
                "text": f"{sweep}: {event}: trial {suggestion.number}: {came_to}",
            }
        )

    def steer(self, total: int, paused: str | None) -> None:
        """Note the total number of configurations, and who paused the sweep; None: it is not paused."""
        self.status.total, self.status.paused = max(total, self.status.done), paused
        self.status.write(self._folder)

    def wait(self, why: str | None) -> None:
        """Print what trials wait for; None: they no longer wait."""
        self.status.waiting = why
        self.status.write(self._folder)
        if why:
            self.say(f"waiting: {why}")

    def write(self, running: Iterable[tuple[Suggestion, Sequence[float]]]) -> None:
        """Write ``status.json``; ``running``: configurations in training, and the objective of each after its tasks."""
        self.status.running = [
            Running(suggestion.number, suggestion.params, len(value_T), self._tasks, value_T[-1] if value_T else None)
            for suggestion, value_T in running
        ]
        self.status.eta_s = self._eta_s()
        self.status.write(self._folder)

    def end(self, state: Literal["finished", "stopped", "failed"]) -> None:
        """Write that this launch is over."""
        self.status.state, self.status.running = state, []
        self.status.write(self._folder)
        if self._began:
            self._began = False
            sweep, now = self._folder.name, self.status
            text = f"{sweep}: ended: {state}, {now.done} of {now.total} configurations ended"
            self._notify(
                {"event": "ended", "state": state, "sweep": sweep, "done": now.done, "total": now.total, "text": text}
            )

    def _eta_s(self) -> float | None:
        here = self.status.done - self._done_before
        if not here:
            return None
        return (time.time() - self.status.started_at) / here * (self.status.total - self.status.done)
