"""Arguments that several commands share."""

import argparse
import os


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
