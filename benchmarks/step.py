"""Time a training step of the whole method and of plain cross-entropy; ``--peer`` adds a different codebase.

``python -m benchmarks.step --small --device cpu`` times the steps of the first stage of the last task, with their
images and their distillation. All variants train the same run, alternating in one process. The table also counts
operations and host synchronisations per step, which are the same on every machine (``benchmarks.operations``).
"""

import statistics
import sys
from collections.abc import Callable, Sequence

from benchmarks import operations, timing
from benchmarks.peers.options import add_options, chosen
from trainer.config.run_config import RunConfig
from trainer.data.tasks import TaskStream, build
from trainer.errors import exit_code
from trainer.methods.base import METHODS
from trainer.training.loop import EpochReport
from trainer.training.observer import Observer
from trainer.training.options import DeviceOptions
from trainer.training.session import train

PLAIN, WHOLE = "cross-entropy", "whole method"


class _LastTask(Observer):
    """Seconds of a step in the last task's first stage, epoch by epoch."""

    def __init__(self, tasks: int) -> None:
        self._last, self._stage, self.step_s = tasks - 1, "", list[float]()

    def on_epoch(self, report: EpochReport) -> None:
        if report.task != self._last:
            return
        self._stage = self._stage or report.stage
        if report.stage == self._stage:
            self.step_s.append(report.wall_s / report.steps)


def step_s(config: RunConfig, options: DeviceOptions, tasks: int, task_stream: TaskStream | None = None) -> float:
    """Median seconds of a step of the last of so many tasks, of the run's own images or of those given."""
    observer = _LastTask(tasks)
    train([config], options, observer=observer, task_stream=task_stream)
    return statistics.median(observer.step_s)


def main(argv: Sequence[str] | None = None) -> int:
    parser = timing.parser("step", "A training step of the whole method against a plain one.")
    add_options(parser)
    arguments = parser.parse_args(argv)
    config, options = timing.chosen(arguments)
    task_stream = build(config.data, config.protocol)
    peer = chosen(arguments, config, task_stream, options.resolve_device())
    tasks = len(task_stream.tasks)
    plain = config.model_copy(update={"method": METHODS.find("finetune")()})
    sides: dict[str, Callable[[], float | None]] = {
        PLAIN: lambda: step_s(plain, options, tasks),
        WHOLE: lambda: step_s(config, options, tasks),
    }
    if peer:

        def peer_step_s() -> float:
            peer.run()
            return statistics.median(peer.step_s)

        sides[peer.title] = peer_step_s
    seconds = timing.alternate(sides, arguments.rounds)
    asked = {name: operations.a_step(side) for name, side in sides.items()}
    rows = [
        [
            name,
            timing.median_and_range([s * 1e3 for s in found]),
            timing.median_and_range(timing.ratios(seconds, name, PLAIN)),
            str(asked[name].operations),
            str(asked[name].waits),
        ]
        for name, found in seconds.items()
    ]
    timing.publish(
        arguments.name,
        [timing.described(config, options, arguments), peer.described() if peer else ""],
        ("step of the last task", "ms", "times the cross-entropy step", "operations", "waits of the host"),
        rows,
        {"step_s": seconds, "asked": {k: v._asdict() for k, v in asked.items()}, "config_id": config.config_id},
    )
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
