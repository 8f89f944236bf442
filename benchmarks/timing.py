"""Alternate the sides of a comparison in one process: on a shared machine only their ratio is meaningful."""

import argparse
import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from benchmarks.record import record
from trainer.command import Parser, at_least
from trainer.config.files import load_run
from trainer.config.run_config import RunConfig
from trainer.results.provenance import device_name, git_commit
from trainer.training.options import DeviceOptions

Seconds = dict[str, list[float]]
"""by side, a value a round"""

SMALL = (
    "data.imbalance.max_per_class=100",
    "protocol.tasks=5",
    "optim.epochs=2",
    "optim.milestones=[1]",
)
"""overrides of a run file with which two CPU cores finish a run in about a minute"""


def alternate(sides: Mapping[str, Callable[[], float | None]], rounds: int) -> Seconds:
    """Seconds of each side in each round, after one round that is not counted.

    A side may return its own seconds, where not all that it does is to be counted.
    """
    found: Seconds = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, side in sides.items():
            gc.collect()
            started = time.perf_counter()
            own = side()
            _wait_for_device()
            taken = time.perf_counter() - started if own is None else own
            if number:
                found[name].append(taken)
    return found


def ratios(seconds: Seconds, of: str, to: str) -> list[float]:
    """Round by round: what both sides met at about the same time."""
    return [a / b for a, b in zip(seconds[of], seconds[to], strict=True)]


def median_and_range(values: Sequence[float], digits: int = 3) -> str:
    """``median (least to most)``."""
    return f"{statistics.median(values):.{digits}g} ({min(values):.{digits}g} to {max(values):.{digits}g})"


def markdown(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def publish(
    name: str | None,
    about: Sequence[str],
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    content: Mapping[str, Any],
) -> None:
    """Print the table; with a name, record it under benchmarks/results/."""
    table = markdown(headers, rows)
    print(f"\n{table}")
    if name:
        record(name, {"commit": git_commit(), "torch_threads": torch.get_num_threads(), **content}, [*about, table])
        print(f"\nrecorded: benchmarks/results/{name}.md and .json")


def parser(module: str, description: str, *, run_file: bool = True) -> argparse.ArgumentParser:
    """With the options that benchmarks share."""
    made = Parser(prog=f"python -m benchmarks.{module}", description=description)
    if run_file:
        made.add_argument("--run", default="runs/imagenet32_lt_lfs10.yaml", help="run file (default: %(default)s)")
        made.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="override a field of it")
        made.add_argument("--small", action="store_true", help="a size for two CPU cores: " + ", ".join(SMALL))
        made.add_argument("--device", default="auto")
        made.add_argument("--precision", default="auto")
        made.add_argument("--compile", action="store_true")
    made.add_argument(
        "--rounds",
        type=at_least(1),
        default=5,
        help="number of rounds, after one that is not counted (default: %(default)s)",
    )
    made.add_argument("--threads", type=at_least(1), help="CPU threads of torch (default: its own choice)")
    made.add_argument("--name", help="record under benchmarks/results/")
    return made


def minutes(text: str) -> float:
    """The type of ``--minutes``: 0 measures nothing, and ``inf`` has no end."""
    try:
        found = float(text)
    except ValueError:
        found = -1
    if not found >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of minutes; allowed: 0 or more")
    return found


def chosen(arguments: argparse.Namespace) -> tuple[RunConfig, DeviceOptions]:
    """The run and how it is computed, from the options of ``parser``; also sets torch's threads."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    sets = [*(SMALL if arguments.small else ()), *arguments.set]
    options = DeviceOptions(device=arguments.device, precision=arguments.precision, compile=arguments.compile)
    return load_run(arguments.run, sets).config, options


def described(config: RunConfig, options: DeviceOptions, arguments: argparse.Namespace) -> str:
    """One line on what was run, and on what."""
    reduced = " (REDUCED RUN: " + ", ".join([*(SMALL if arguments.small else ()), *arguments.set]) + ")"
    size = f"{config.protocol.kind} {config.protocol.tasks}, {config.net.name}, {config.optim.epochs} epochs a task"
    return (
        f"{arguments.run}{reduced if arguments.small or arguments.set else ''}: {size}; "
        f"{device_name(options.resolve_device())}, {options.resolve_precision()}, "
        f"{torch.get_num_threads()} threads; {arguments.rounds} rounds, sides in turn, median (least to most)."
    )


def _wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
