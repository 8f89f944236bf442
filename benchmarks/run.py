"""Time a whole run with all tasks, exemplars and evaluations; ``--peer`` compares it with a different codebase.

``python -m benchmarks.run --small --device cpu --peer DIR``. Both sides alternate in one process and train the same
images, tasks, epochs and batches, with a new seed in every round. Accuracies are shown as well, because a trainer that
learns nothing is fast.
"""

import sys
from collections import defaultdict
from collections.abc import Callable, Sequence

from benchmarks import timing
from benchmarks.peers.options import add_options, chosen
from trainer.config.run_config import RunConfig
from trainer.data.tasks import build
from trainer.errors import exit_code
from trainer.results.spread import mean_std_over_seeds
from trainer.training.loop import EpochReport
from trainer.training.observer import Observer
from trainer.training.session import train

OURS = "this trainer"


class _Epochs(Observer):
    """Seconds of all epochs."""

    wall_s = 0.0

    def on_epoch(self, report: EpochReport) -> None:
        self.wall_s += report.wall_s


def main(argv: Sequence[str] | None = None) -> int:
    parser = timing.parser("run", "A whole run, against another project's.")
    add_options(parser)
    arguments = parser.parse_args(argv)
    config, options = timing.chosen(arguments)
    task_stream = build(config.data, config.protocol)
    peer = chosen(arguments, config, task_stream, options.resolve_device())
    epochs_s: timing.Seconds = defaultdict(list)
    accuracy: dict[str, list[float]] = defaultdict(list)

    def seeded(name: str) -> RunConfig:
        """A side's run in the round under way."""
        return config.model_copy(update={"seed": config.seed + len(accuracy[name])})

    def ours() -> None:
        observer = _Epochs()
        (result,) = train([seeded(OURS)], options, observer=observer)
        epochs_s[OURS].append(observer.wall_s)
        accuracy[OURS].append(result.acc_task_mean_pct)

    sides: dict[str, Callable[[], float | None]] = {OURS: ours}
    if peer:

        def theirs() -> None:
            peer.config = seeded(peer.title)
            peer.run()
            epochs_s[peer.title].append(peer.epochs_s)
            accuracy[peer.title].append(peer.acc_pct)

        sides[peer.title] = theirs
    seconds = timing.alternate(sides, arguments.rounds)
    epochs_s, accuracy = ({name: found[1:] for name, found in each.items()} for each in (epochs_s, accuracy))
    rows = [
        [
            name,
            timing.median_and_range(found),
            timing.median_and_range(timing.ratios(seconds, name, OURS)),
            timing.median_and_range(epochs_s[name]),
            timing.median_and_range(timing.ratios(epochs_s, name, OURS)),
            mean_std_over_seeds(accuracy[name]),
        ]
        for name, found in seconds.items()
    ]
    first, last = config.seed + 1, config.seed + arguments.rounds
    seeds = f"ACC over seeds {first} to {last}, n = {arguments.rounds}, on {sum(task_stream.eval_counts_C)} images."
    timing.publish(
        arguments.name,
        [timing.described(config, options, arguments), peer.described() if peer else "", seeds],
        ("one run", "s", "times this trainer", "its epochs, s", "times this trainer's", "ACC %, mean ± std"),
        rows,
        {"run_s": seconds, "epochs_s": epochs_s, "acc_pct": accuracy, "config_id": config.config_id},
    )
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
