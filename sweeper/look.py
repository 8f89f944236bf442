"""Look at images before training: ``python -m sweeper.look FILE_OR_FOLDER``.

As ``python -m trainer.look``, and of a search space what its trials will see.
"""

import argparse
import sys
from collections.abc import Sequence

from sweeper.search.space import load_space
from trainer import look
from trainer.config.files import load_run, load_yaml
from trainer.config.run_config import RunConfig
from trainer.errors import exit_code


def main(argv: Sequence[str] | None = None) -> int:
    return look.main(argv, _of_file)


def parser() -> argparse.ArgumentParser:
    """The arguments of this command."""
    return look.parser()


def _of_file(file: str, sets: Sequence[str]) -> RunConfig:
    """Of a run file, or of a search space: its base, measured as its trials are."""
    if {"base", "vary"} & load_yaml(file, folder="runs").keys():
        return load_space(file, tuple(sets)).configs({})[0]
    return load_run(file, sets).config


if __name__ == "__main__":
    sys.exit(exit_code(main))
