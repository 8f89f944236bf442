"""Classify images with a trained model: ``python -m trainer.predict DIR IMAGES``.

The model is one that ``trainer.run --keep-model`` has written.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from trainer.command import Parser, program
from trainer.errors import ConfigError, exit_code
from trainer.limits import LARGEST_SEED, PRECISIONS
from trainer.signals import ended_by_signals


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    if not (arguments.places or arguments.evaluate or arguments.export):
        raise ConfigError("no images given", allowed="files and folders, --evaluate, or --export")
    with ended_by_signals():  # slow to import
        from trainer.model.command import run  # noqa: PLC0415

    return run(arguments)


def _number(text: str, smallest: int, largest: int) -> int:
    if not text.isdecimal() or not smallest <= int(text) <= largest:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {smallest} to {largest}")
    return int(text)


def _top(text: str) -> int:
    return _number(text, 1, 1000)


def _seed(text: str) -> int:
    return _number(text, 0, LARGEST_SEED)


def parser() -> argparse.ArgumentParser:
    """The arguments of this command."""
    made = Parser(prog=program("trainer.predict"), description="Classify images with a trained model.")
    add = made.add_argument
    add("model", type=Path, metavar="DIR", help="the --out folder of a run with --keep-model, or a file of its models/")
    add("places", nargs="*", type=Path, metavar="IMAGES", help="image files, and folders that hold some")
    add("--seed", type=_seed, help="seed of the model, where the folder holds several")
    add("--top", type=_top, default=5, metavar="N", help="classes shown of each image (default: 5)")
    add("--format", choices=("table", "csv", "json"), default="table", help="output format (default: table)")
    add("--parquet", type=Path, metavar="FILE", help="write the predictions to a Parquet file instead")
    add(
        "--evaluate",
        action="store_true",
        help="measure it on the run's evaluation images, and draw evaluation.png",
    )
    exported = "write the network for other programs: export.pt2 (torch.export) or export.onnx"
    add("--export", choices=("torch", "onnx"), metavar="FORMAT", help=f"{exported}; torch or onnx")
    add("--out", type=Path, metavar="FOLDER", help="folder of evaluation.png and exports (default: that of the model)")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    precision = "arithmetic of the network (default: that of its training)"
    add("--precision", default="auto", choices=PRECISIONS, help=precision)
    return made


if __name__ == "__main__":
    sys.exit(exit_code(main))
