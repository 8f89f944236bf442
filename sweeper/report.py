"""Draw a sweep as one figure: ``python -m sweeper.report SWEEP [--results DIR] [--out DIR]`` writes PNG and SVG."""

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path

from sweeper.reporting.arguments import command_parser
from sweeper.reporting.figures import draw
from sweeper.store.folder import Folder
from sweeper.store.results import open_results
from sweeper.store.sweep_file import read_space
from sweeper.store.sweeps import find_sweep
from trainer.errors import exit_code


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    space = read_space(find_sweep(arguments.results, arguments.sweep))
    drawn = draw(space, open_results(arguments.results))
    out = Folder.at(Path(arguments.out))
    for kind in ("png", "svg"):
        content, name = io.BytesIO(), f"{arguments.sweep}.{kind}"
        drawn.savefig(content, format=kind, dpi=110)
        out.write(name, content.getvalue())
        print(f"{out}/{name}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The arguments of this command."""
    made = command_parser("report", "Draw a sweep as one figure.", "name of the sweep")
    made.add_argument("--out", default="out", metavar="DIR", help="folder of the figure (default: out)")
    return made


if __name__ == "__main__":
    sys.exit(exit_code(main))
