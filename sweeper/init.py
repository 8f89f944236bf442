"""Write a starting set of files for images of one's own: ``cil init DIR`` looks at the images and picks the rest.

On a terminal it asks what was not given by options; elsewhere it takes what it picks.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from sweeper.reporting.arguments import next_command
from sweeper.store.names import check_name
from trainer.command import Parser, at_least, program
from trainer.errors import ConfigError, UserError, exit_code, nearest_path
from trainer.files import atomic_write
from trainer.signals import ended_by_signals

T = TypeVar("T")


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    path = Path(os.path.abspath(Path(arguments.dir).expanduser()))
    if not path.exists():
        raise UserError(f"{arguments.dir}: no such folder or file{nearest_path(path)}")
    print(f"looking at {path}", flush=True)  # what is imported next takes seconds
    with ended_by_signals():
        from sweeper.starting.files import methods_file, run_file, search_file  # noqa: PLC0415
        from sweeper.starting.images import survey  # noqa: PLC0415

    asks = sys.stdin.isatty() and sys.stdout.isatty() and not arguments.yes
    name = _given(arguments.name, _usual_name(path), "name of the sweep", str, asks)
    check_name(name)
    target = Path(arguments.to)
    files = [target / "runs" / f"{name}_start.yaml"]
    files += [target / "search_spaces" / f"{name}{kind}.yaml" for kind in ("", "_methods")]
    _check_absent([*files, *([target / "cluster"] if arguments.cluster else [])], force=arguments.force)
    images = survey(
        name,
        path,
        source=arguments.source,
        size=lambda picked: _given(arguments.size, picked, "pixels of a side for training", at_least(4), asks),
        tasks=lambda picked: _given(arguments.tasks, picked, "tasks that the classes are cut into", at_least(1), asks),
        gpu=arguments.gpu,
    )
    for file, text in zip(files, (run_file(images, files[0]), search_file(images), methods_file(images)), strict=True):
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(file, text.encode())
        print(f"wrote {file}")
    if arguments.cluster:
        own = Path(__file__).resolve().parents[1] / "cluster"
        shutil.copytree(own, target / "cluster", dirs_exist_ok=True)
        print(f"wrote {target / 'cluster'}: files that start a cluster, and what is sent to it")
    print(f"next: {next_command('sweeper.launch', files[1], '--dry-run')}")
    print(f"      {next_command('sweeper.launch', files[1])}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The arguments of this command."""
    made = Parser(
        prog=program("sweeper.init"), description="Write a run file and search spaces for the images in a folder."
    )
    add = made.add_argument
    add("dir", help="folder of the images, or a Parquet, CSV or NumPy file of them")
    add("--name", help="name of the sweep (default: the folder's)")
    add("--size", type=at_least(4), metavar="PIXELS", help="side that images are trained at (default: by the images)")
    add("--tasks", type=at_least(1), help="tasks that the classes are cut into (default: by their number)")
    add("--gpu", action=argparse.BooleanOptionalAction, help="train on a GPU (default: if this machine has one)")
    add("--source", metavar="NAME", help="data.source of the run file (default: by the files that are there)")
    add("--cluster", action="store_true", help="also write the files that start a cluster")
    add("--to", default=".", metavar="DIR", help="folder to write to (default: the working directory)")
    add("--yes", action="store_true", help="ask nothing")
    add("--force", action="store_true", help="overwrite files that are there")
    return made


def _given(given: T | None, picked: T, what: str, parse: Callable[[str], T], asks: bool) -> T:
    """What an option says, otherwise the answer to a question, otherwise what was picked."""
    if given is not None or not asks:
        return picked if given is None else given
    while True:
        try:
            answer = input(f"{what} [{picked}]: ").strip()
            return parse(answer) if answer else picked
        except EOFError:
            return picked
        except (ValueError, argparse.ArgumentTypeError) as error:
            print(error)


def _usual_name(path: Path) -> str:
    words = "".join(c if c.isalnum() or c in "-_" else "_" for c in (path.stem if path.is_file() else path.name))
    return words.strip("-_") or "mine"


def _check_absent(files: Sequence[Path], *, force: bool) -> None:
    """Raises ConfigError if one is there, unless that is wanted."""
    there = [str(file) for file in files if file.exists()]
    if there and not force:
        raise ConfigError(f"{', '.join(there)}: there already; choose another --name, or overwrite with --force")


if __name__ == "__main__":
    sys.exit(exit_code(main))
