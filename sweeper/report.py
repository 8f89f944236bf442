"""Draw a sweep as one figure: ``python -m sweeper.report SWEEP [--results DIR] [--out DIR]`` writes PNG and SVG."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sweeper.reporting.arguments import add_results
from sweeper.reporting.figures import draw
from sweeper.store.folder import Folder
from sweeper.store.results import open_results
from sweeper.store.sweep_file import read_space
from trainer.errors import UserError, exit_code


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    space = read_space(Folder.at(arguments.results).child(arguments.sweep))
    drawn = draw(space, open_results(arguments.results))
    out = Path(arguments.out)
    for kind in ("png", "svg"):
        file = out / f"{arguments.sweep}.{kind}"
        try:
            out.mkdir(parents=True, exist_ok=True)
            drawn.savefig(file, dpi=110)
        except OSError as error:
            raise UserError(f"{file}: cannot be written: {error.strerror}") from None
        print(file)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sweeper.report", description="Draw a sweep as one figure.")
    parser.add_argument("sweep", help="name of the sweep")
    add_results(parser)
    parser.add_argument("--out", default="out", metavar="DIR", help="folder of the figure (default: out)")
    return parser


if __name__ == "__main__":
    sys.exit(exit_code(main))
