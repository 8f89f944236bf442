"""Train one run file: ``python -m trainer.run RUN.yaml``."""

import argparse
import sys
from collections.abc import Sequence

from trainer.command import Parser, program
from trainer.config.yaml_file import run_content
from trainer.errors import exit_code
from trainer.limits import LARGEST_SEED, LARGEST_WORLD, MOST_THREADS, PRECISIONS
from trainer.signals import ended_by_signals


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    run_content(arguments.file)  # a file that is none is refused before the imports, which take seconds
    with ended_by_signals():
        from trainer.runner import run  # noqa: PLC0415

    return run(arguments)


def _seeds(text: str) -> list[int]:
    return _numbers(text, "seeds", LARGEST_SEED)


def _worlds(text: str) -> list[int]:
    return _numbers(text, "worlds", LARGEST_WORLD)


def _numbers(text: str, what: str, largest: int) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of {what} like 0,1,2") from None
    if len(set(numbers)) != len(numbers) or min(numbers) < 0 or max(numbers) > largest:
        raise argparse.ArgumentTypeError(f"{text!r}: {what} must be different and from 0 to {largest}")
    return numbers


def _epochs(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of epochs, 0 or more")
    return int(text)


def _threads(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= MOST_THREADS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of threads, 1 to {MOST_THREADS}")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """The arguments of this command."""
    made = Parser(prog=program("trainer.run"), description="Train one run file.")
    add = made.add_argument
    add("file", help="a run file, such as runs/digits_lfs5.yaml")
    add("--set", action="append", default=[], metavar="FIELD=VALUE", help="override a field, e.g. method.alpha=0.5")
    add("--seeds", type=_seeds, metavar="0,1,2", help="train these seeds together instead of the file's")
    worlds = "train the seeds in each of these worlds: class order and tail drawn from a number"
    add("--worlds", type=_worlds, metavar="0,1,2", help=worlds)
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    threads = "CPU threads (default: those that a promoted file records, otherwise PyTorch's choice)"
    add("--threads", type=_threads, metavar="N", help=threads)
    add(
        "--precision",
        default="auto",
        choices=PRECISIONS,
        help="arithmetic of the network (default: what a file promoted on a CPU records, otherwise auto)",
    )
    add("--compile", action="store_true", help="torch.compile the network")
    add("--deterministic", action="store_true", help="repeat runs bit by bit on CUDA, slower")
    add("--out", metavar="DIR", help="write results as Parquet and a checkpoint to this folder")
    keep = "also write each run's model to DIR/models, for trainer.predict; with --resume of a run that has ended, too"
    add("--keep-model", action="store_true", help=keep)
    add("--resume", action="store_true", help="continue the run in --out")
    every = "also checkpoint every EPOCHS epochs (default: after each task only)"
    add("--checkpoint-every", type=_epochs, default=0, metavar="EPOCHS", help=every)
    add("--verify", action="store_true", help="train a promoted file again and compare with its recorded results")
    return made


if __name__ == "__main__":
    sys.exit(exit_code(main))
