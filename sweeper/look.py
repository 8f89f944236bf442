"""Look at images before training: ``python -m sweeper.look FILE_OR_FOLDER``.

As ``python -m trainer.look``, and of a search space what its trials will see.
"""

import argparse
import sys
from collections.abc import Sequence

from trainer import look
from trainer.errors import exit_code
from trainer.signals import ended_by_signals


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    print(f"looking at {arguments.images}", flush=True)  # what is imported next takes seconds
    is_file = look.is_of_settings(arguments.images)
    with ended_by_signals():
        from sweeper.search.space_file import load_space  # noqa: PLC0415
        from trainer.config.files import load_run  # noqa: PLC0415
        from trainer.config.run_config import RunConfig  # noqa: PLC0415
        from trainer.config.yaml_file import load_yaml  # noqa: PLC0415
        from trainer.survey.show import show  # noqa: PLC0415

    def of_file(file: str, sets: Sequence[str]) -> RunConfig:
        """Of a run file, or of a search space: its base, measured as its trials are."""
        if {"base", "vary"} & load_yaml(file, folder="runs").keys():
            return load_space(file, tuple(sets)).configs({})[0]
        return load_run(file, sets).config

    return show(arguments.images, arguments.set, arguments.out, of_file if is_file else None)


def parser() -> argparse.ArgumentParser:
    """The arguments of this command."""
    return look.parser()


if __name__ == "__main__":
    sys.exit(exit_code(main))
