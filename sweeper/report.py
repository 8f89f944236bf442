"""Draw a sweep as one figure: ``python -m sweeper.report SWEEP [--format png,svg,pdf,tex] [--out DIR]``.

PNG, SVG and PDF are the figure; ``tex`` is a table of the best configurations, for LaTeX's ``booktabs``.
"""

import argparse
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from sweeper.reporting.arguments import command_parser
from sweeper.store.damage import Damage
from sweeper.store.folder import Folder
from sweeper.store.status_file import read_state
from sweeper.store.sweeps import find_sweep
from trainer.errors import exit_code
from trainer.signals import ended_by_signals

_FORMATS = ("png", "svg", "pdf", "tex")


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    for file in draw_report(find_sweep(arguments.results, arguments.sweep), arguments.out, arguments.format):
        print(file)
    return 0


def draw_report(sweep: Folder, out: str, formats: Sequence[str]) -> Iterator[str]:
    """Draw the sweep in a folder, into a file of ``out`` for each format. Yields their names. Raises UserError."""
    with ended_by_signals():  # slow to import
        from sweeper.reporting.figures import draw  # noqa: PLC0415
        from sweeper.reporting.leaderboard import top  # noqa: PLC0415
        from sweeper.store.results import open_results  # noqa: PLC0415
        from sweeper.store.sweep_file import read_space  # noqa: PLC0415
        from trainer.tables import latex  # noqa: PLC0415

    space, (status, state) = read_space(sweep), read_state(sweep, Damage())
    folder, ended = Folder.at(Path(out)), status is None or status.done >= status.total
    results = sweep.parent
    with open_results(results).snapshot() as now:
        drawn = draw(space, now, None if ended else state)
    for kind in formats:
        content, name = io.BytesIO(), f"{space.name}.{kind}"
        if kind == "tex":
            content.write(latex(*top(open_results(results, space.name), space.spec.objective)).encode())
        else:
            drawn.savefig(content, format=kind, dpi=110)
        folder.write(name, content.getvalue())
        yield f"{folder}/{name}"


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
