"""Export a sweep to other tools: ``python -m sweeper.export SWEEP --to KIND:PLACE``.

What has ended is written: to a storage of Optuna, to TensorBoard, to MLflow, or as CSV files.
"""

import argparse
import sys
from collections.abc import Sequence

from sweeper.reporting.arguments import command_parser
from sweeper.store.sweeps import find_sweep
from trainer.errors import exit_code
from trainer.signals import ended_by_signals


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    find_sweep(arguments.results, arguments.sweep)  # a name that is none is refused before the imports
    with ended_by_signals():  # slow to import
        from sweeper.exports.source import read  # noqa: PLC0415
        from sweeper.exports.targets import parse  # noqa: PLC0415

    targets = [parse(text) for text in arguments.to]
    source = read(arguments.results, arguments.sweep)
    for target in targets:
        print(target.write(source), flush=True)
    return 0


def parser() -> argparse.ArgumentParser:
    """The arguments of this command."""
    made = command_parser("export", "Export a sweep to other tools.", "name of the sweep")
    places = "optuna:sqlite:///FILE, tensorboard:DIR, mlflow:URI or csv:DIR; may be given several times"
    made.add_argument("--to", action="append", required=True, metavar="KIND:PLACE", help=places)
    return made


if __name__ == "__main__":
    sys.exit(exit_code(main))
