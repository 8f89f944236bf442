"""Arguments that several commands share."""

import argparse
import os
import shlex

from sweeper.store.folder import Folder
from trainer.command import Parser, program, words


def command_parser(command: str, description: str, sweep: str | None = None) -> argparse.ArgumentParser:
    """A parser of ``python -m sweeper.COMMAND`` that has ``--results`` and, with a help text ``sweep``, its name."""
    parser = Parser(prog=program(f"sweeper.{command}"), description=description)
    if sweep is not None:
        parser.add_argument("sweep", help=sweep)
    add_results(parser)
    return parser


def add_results(parser: argparse.ArgumentParser) -> None:
    """``--results``: the folder or URI that sweeps are stored in."""
    parser.add_argument(
        "--results",
        default=os.environ.get("CIL_RESULTS", "results"),
        metavar="DIR",
        help="results folder or URI (default: $CIL_RESULTS, otherwise ./results)",
    )


def add_address(parser: argparse.ArgumentParser) -> None:
    """``--address``: the Ray cluster to run on."""
    parser.add_argument(
        "--address", help="address of a running Ray cluster (default: $RAY_ADDRESS, otherwise a local one is started)"
    )


def next_command(module: str, *arguments: object, results: Folder | None = None) -> str:
    """A command to paste into a shell; ``results``: the folder that it reads, if it takes ``--results``."""
    command = [*words(module), *map(str, arguments)]
    if results is not None and {str(results), os.environ.get("CIL_RESULTS", "results")} != {"results"}:
        command += ["--results", results.argument]
    return shlex.join(command)
