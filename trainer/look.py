"""Look at images before training: ``python -m trainer.look RUN_OR_FOLDER``.

What was found in each split and class, the tail, the tasks, and everything that is wrong, at once.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from trainer.command import Parser, program
from trainer.config.yaml_file import load_yaml
from trainer.errors import UserError, exit_code, nearest_path
from trainer.signals import ended_by_signals


def main(argv: Sequence[str] | None = None) -> int:
    """Print the survey of a run file or of images. Returns 2 if a run would be refused."""
    arguments = parser().parse_args(argv)
    print(f"looking at {arguments.images}", flush=True)  # what is imported next takes seconds
    is_file = is_of_settings(arguments.images)
    with ended_by_signals():
        from trainer.config.files import load_run  # noqa: PLC0415
        from trainer.config.run_config import RunConfig  # noqa: PLC0415
        from trainer.survey.show import show  # noqa: PLC0415

    def of_file(file: str, sets: Sequence[str]) -> RunConfig:
        return load_run(file, sets).config

    return show(arguments.images, arguments.set, arguments.out, of_file if is_file else None)


def is_of_settings(given: str) -> bool:
    """Whether a run file or a search space is given, not images. Raises UserError for what cannot be read."""
    if Path(given).suffix.lower() not in (".yaml", ".yml"):
        if Path(given).exists():
            return False
        if hint := nearest_path(Path(given)):
            raise UserError(f"{given}: no such folder or file{hint}")
    load_yaml(given, folder="runs")  # raises also for a name that is nearly that of a run file
    return True


def parser() -> argparse.ArgumentParser:
    """The arguments of this command."""
    made = Parser(prog=program("trainer.look"), description="Look at images before training.")
    add = made.add_argument
    add("images", metavar="RUN_OR_FOLDER", help="a folder or file of images, or a file that names them")
    add("--set", action="append", default=[], metavar="FIELD=VALUE", help="override a field, e.g. data.crop=32")
    add("--out", metavar="DIR", help="write pictures there: tail.png and images.png")
    return made


if __name__ == "__main__":
    sys.exit(exit_code(main))
