"""Launch a sweep, or resume it: ``python -m sweeper.launch search_spaces/alpha_lambda.yaml``.

The same command on a laptop, on a Ray cluster (``--address``, ``$RAY_ADDRESS``) and inside ``ray job submit``.
"""

import argparse
import json
import sys
from collections.abc import Sequence

from sweeper.reporting.arguments import add_address
from trainer.command import Parser, program
from trainer.config.yaml_file import space_content
from trainer.errors import ConfigError, exit_code
from trainer.signals import ended_by_signals


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    if arguments.json and not arguments.dry_run:
        raise ConfigError("is the form of a plan", field="--json", allowed="with --dry-run")
    # What is imported next takes seconds.
    print(f"reading {arguments.file}", flush=True, file=sys.stderr if arguments.json else sys.stdout)
    space_content(arguments.file)  # a file that is none is refused before it
    own = {"trials": arguments.trials, "name": arguments.name}
    sets = [*arguments.set, *(f"{field}={json.dumps(value)}" for field, value in own.items() if value is not None)]
    with ended_by_signals():
        from sweeper.search.space_file import load_space  # noqa: PLC0415
    space = load_space(arguments.file, tuple(sets))
    with ended_by_signals():
        from sweeper.driver import drive  # noqa: PLC0415

    return drive(space, arguments)


def _no_device(device: str) -> str:
    wanted = "resources.cpu=2" if device == "cpu" else "resources.gpu=1"
    raise argparse.ArgumentTypeError(f"a sweep computes on what each of its trials is given: --set {wanted}")


def parser() -> argparse.ArgumentParser:
    """The arguments of a launch."""
    made = Parser(prog=program("sweeper.launch"), description="Launch a sweep, or resume it.")
    made.add_argument("file", help="search-space file, such as search_spaces/alpha_lambda.yaml")
    made.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="override a field of the file")
    made.add_argument("--trials", type=int, help="total number of configurations, finished ones included")
    made.add_argument(
        "--results", help="results folder or URI (default: the file's, otherwise $CIL_RESULTS, otherwise ./results)"
    )
    made.add_argument("--name", help="sweep name (default: name of the file)")
    made.add_argument("--retry-failed", action="store_true", help="train again the configurations that have failed")
    made.add_argument("--device", type=_no_device, help=argparse.SUPPRESS)
    add_address(made)
    made.add_argument("--dry-run", action="store_true", help="print the plan and start nothing")
    made.add_argument("--json", action="store_true", help="with --dry-run, print the plan as JSON")
    return made


if __name__ == "__main__":
    sys.exit(exit_code(main))
