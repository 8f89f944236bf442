"""Draw a sweep as one figure: ``python -m sweeper.report SWEEP [--format png,svg,pdf,tex] [--out DIR]``.

PNG, SVG and PDF are the figure; ``tex`` is a table of the best configurations, for LaTeX's ``booktabs``.
"""

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path

from sweeper.reporting.arguments import command_parser
from sweeper.reporting.figures import draw
from sweeper.reporting.leaderboard import top
from sweeper.reporting.tables import latex
from sweeper.store.folder import Folder
from sweeper.store.results import open_results
from sweeper.store.sweep_file import read_space
from sweeper.store.sweeps import find_sweep
from trainer.errors import exit_code

_FORMATS = ("png", "svg", "pdf", "tex")


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    space = read_space(find_sweep(arguments.results, arguments.sweep))
    results, out = open_results(arguments.results), Folder.at(Path(arguments.out))
    drawn = draw(space, results)
    for kind in arguments.format:
        content, name = io.BytesIO(), f"{arguments.sweep}.{kind}"
        if kind == "tex":
            content.write(latex(*top(open_results(arguments.results, space.name), space.spec.objective)).encode())
        else:
            drawn.savefig(content, format=kind, dpi=110)
        out.write(name, content.getvalue())
        print(f"{out}/{name}")
    return 0


def _formats(text: str) -> list[str]:
    formats = list(dict.fromkeys(text.split(",")))
    for one in formats:
        if one not in _FORMATS:
            raise argparse.ArgumentTypeError(f"{one!r} is none of {', '.join(_FORMATS)}")
    return formats


def parser() -> argparse.ArgumentParser:
    """The arguments of this command."""
    made = command_parser("report", "Draw a sweep as one figure.", "name of the sweep")
    made.add_argument("--out", default="out", metavar="DIR", help="folder of the figure (default: out)")
    formats = f"which of {', '.join(_FORMATS)}, with commas between (default: png,svg)"
    made.add_argument("--format", type=_formats, default=["png", "svg"], metavar="FORMATS", help=formats)
    return made


if __name__ == "__main__":
    sys.exit(exit_code(main))
