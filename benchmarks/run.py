"""A whole run: all tasks, exemplars and evaluations; against the released code's with ``--peer``.

``python -m benchmarks.run --small --device cpu --peer DIR``. Both sides train the same images, tasks, epochs and
batches in one process, in turn. Their accuracies stand beside the times: whoever learns nothing is fast.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from benchmarks import peer, timing
from trainer.data.tasks import build
from trainer.errors import exit_code
from trainer.run import run

OURS, PEER = "this trainer", "released code"


def main(argv: Sequence[str] | None = None) -> int:
    parser = timing.parser("run", "A whole run, against the released code's.")
    peer.add_options(parser)
    arguments = parser.parse_args(argv)
    config, options = timing.chosen(arguments)
    benchmark = build(config.data, config.protocol)
    accuracy: dict[str, list[float]] = {OURS: [], PEER: []}

    def ours() -> None:
        (result,) = run([config], options)
        accuracy[OURS].append(result.row["acc_task_mean_pct"])

    sides: dict[str, Callable[[], float | None]] = {OURS: ours}
    if arguments.peer:
        released = peer.ReleasedCode(
            arguments.peer, config, benchmark, options.resolve_device(), arguments.peer_workers
        )

        def theirs() -> None:
            released.run()
            accuracy[PEER].append(released.acc_pct)

        sides[PEER] = theirs
    seconds = timing.alternate(sides, arguments.rounds)
    rows = [
        [
            name,
            timing.spread(found),
            timing.spread(timing.ratios(seconds, name, OURS)),
            timing.spread(accuracy[name], 4),
        ]
        for name, found in seconds.items()
    ]
    timing.publish(
        arguments.name,
        [timing.described(config, options, arguments)],
        ("one run", "s", "times this trainer", "ACC %"),
        rows,
        {"run_s": seconds, "acc_pct": accuracy, "config_id": config.config_id},
    )
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
