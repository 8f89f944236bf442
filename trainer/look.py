"""Look at images before training: ``python -m trainer.look RUN_OR_FOLDER``.

What was found in each split and class, the tail, the tasks, and everything that is wrong, at once.
"""

import argparse
import sys
from collections.abc import Sequence

from trainer.command import program
from trainer.errors import exit_code
from trainer.signals import ended_by_signals


def main(argv: Sequence[str] | None = None) -> int:
    """Print the survey of a run file or of images. Returns 2 if a run would be refused."""
    arguments = parser().parse_args(argv)
    print(f"looking at {arguments.images}", flush=True)  # what is imported next takes seconds
    with ended_by_signals():
        from trainer.config.files import load_run  # noqa: PLC0415
        from trainer.survey.show import show  # noqa: PLC0415

    return show(arguments.images, arguments.set, arguments.out, lambda file, sets: load_run(file, sets).config)


def parser() -> argparse.ArgumentParser:
    """The arguments of this command."""
    made = argparse.ArgumentParser(prog=program("trainer.look"), description="Look at images before training.")
    add = made.add_argument
    add("images", metavar="RUN_OR_FOLDER", help="a folder or file of images, or a file that names them")
    add("--set", action="append", default=[], metavar="FIELD=VALUE", help="override a field, e.g. data.crop=32")
    add("--out", metavar="DIR", help="write pictures there: tail.png and images.png")
    return made


if __name__ == "__main__":
    sys.exit(exit_code(main))
