"""Draw sweeps: ``python -m sweeper.report SWEEP ... [--format png,svg,pdf,tex,html] [--out DIR] [--serve]``.

PNG, SVG and PDF are a figure of each sweep; ``tex`` is a table of the best configurations, for LaTeX's ``booktabs``;
``html`` is one page of all the sweeps, which ``--serve`` shows while they run.
"""

import argparse
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from sweeper.reporting.arguments import command_parser, next_command
from sweeper.store.damage import Damage
from sweeper.store.folder import Folder
from sweeper.store.status_file import read_state
from sweeper.store.sweeps import find_sweep
from trainer.errors import UserError, exit_code, os_reason
from trainer.signals import ended_by_signals, interruptible

_FORMATS = ("png", "svg", "pdf", "tex", "html")


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    sweeps = list(dict.fromkeys(arguments.sweep))
    folders = [find_sweep(arguments.results, name) for name in sweeps]
    if arguments.serve:
        return _serve(folders, arguments.port)
    for file in draw_report(folders, arguments.out, arguments.format):
        print(file)
    return 0


def draw_report(sweeps: Sequence[Folder], out: str, formats: Sequence[str]) -> Iterator[str]:
    """Draw the sweeps in these folders, into files of ``out``: for each format one a sweep, ``html`` one for all.

    Yields their names. Raises UserError.
    """
    folder, kinds = Folder.at(Path(out)), [kind for kind in formats if kind != "html"]
    for sweep in sweeps if kinds else ():
        for name, content in _drawn(sweep, kinds):
            folder.write(name, content)
            yield f"{folder}/{name}"
    if "html" in formats:
        with ended_by_signals():  # slow to import
            from sweeper.reporting.html import page_html  # noqa: PLC0415

        name = f"{'_'.join(sweep.name for sweep in sweeps)}.html"
        folder.write(name, page_html(_content(sweeps)).encode())
        yield f"{folder}/{name}"


def _drawn(sweep: Folder, kinds: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """The files of one sweep, with their names."""
    with ended_by_signals():  # slow to import
        from sweeper.reporting.figures import draw  # noqa: PLC0415
        from sweeper.reporting.leaderboard import top  # noqa: PLC0415
        from sweeper.store.results import open_results  # noqa: PLC0415
        from sweeper.store.sweep_file import read_space  # noqa: PLC0415
        from trainer.tables import latex  # noqa: PLC0415

    space, (status, state) = read_space(sweep), read_state(sweep, Damage())
    results, ended = sweep.parent, status is None or status.done >= status.total
    with open_results(results).snapshot() as now:
        drawn = draw(space, now, None if ended else state)
    for kind in kinds:
        content = io.BytesIO()
        if kind == "tex":
            content.write(latex(*top(open_results(results, space.name), space.spec.objective)).encode())
        else:
            drawn.savefig(content, format=kind, dpi=110)
        yield f"{space.name}.{kind}", content.getvalue()


def _content(folders: Sequence[Folder]) -> dict[str, object]:
    """What the page of these sweeps shows, from one snapshot of the results.

    A server calls it in threads of its own, where no signal can be handled: its caller has imported what is slow.
    """
    from sweeper.reporting.page import page_content, sweep_content  # noqa: PLC0415
    from sweeper.store.results import open_results  # noqa: PLC0415
    from sweeper.store.sweep_file import read_space  # noqa: PLC0415

    with open_results(folders[0].parent).snapshot() as results:
        sweeps = [sweep_content(read_space(folder), *read_state(folder, Damage()), results) for folder in folders]
    for sweep, folder in zip(sweeps, folders, strict=True):
        sweep["next"] = next_command("sweeper.promote", sweep["name"], results=folder.parent)
    return page_content(sweeps)


def _serve(folders: Sequence[Folder], port: int) -> int:
    """Serve the page until a signal ends it. Raises UserError where the port is taken."""
    with ended_by_signals():  # slow to import
        from sweeper.reporting.serve import PageServer  # noqa: PLC0415

    def version() -> object:
        """What changes with every result and every decision."""
        states = [read_state(folder, Damage(lambda line: None)) for folder in folders]
        decisions = [sorted(folder.child("promotions").names()) for folder in folders]
        return [(status and status.updated_at, state) for status, state in states], decisions

    try:
        server = PageServer(lambda: _content(folders), version, port)
    except OSError as error:
        raise UserError(f"--port {port}: {os_reason(error)}") from None
    with server, interruptible():
        server.content()  # what is wrong with the results is said before the address
        print(f"{server.address}\nserving on this machine alone; Ctrl-C ends it", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0


def _formats(text: str) -> list[str]:
    formats = list(dict.fromkeys(text.split(",")))
    for one in formats:
        if one not in _FORMATS:
            raise argparse.ArgumentTypeError(f"{one!r} is none of {', '.join(_FORMATS)}")
    return formats


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 0 to 65535")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """The arguments of this command."""
    made = command_parser("report", "Draw sweeps as figures, or as one page to read and compare them on.")
    made.add_argument("sweep", nargs="+", help="name of a sweep; a page compares several")
    made.add_argument("--out", default="out", metavar="DIR", help="folder of the files (default: out)")
    formats = f"which of {', '.join(_FORMATS)}, with commas between (default: png,svg)"
    made.add_argument("--format", type=_formats, default=["png", "svg"], metavar="FORMATS", help=formats)
    made.add_argument("--serve", action="store_true", help="serve the page on this machine while the sweeps run")
    made.add_argument("--port", type=_port, default=0, help="port of --serve (default: any that is free)")
    return made


if __name__ == "__main__":
    sys.exit(exit_code(main))
