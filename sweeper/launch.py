"""Launch a sweep, or resume it: ``python -m sweeper.launch search_spaces/alpha_lambda.yaml``.

The same command on a laptop, on a Ray cluster (``--address``, ``$RAY_ADDRESS``) and inside ``ray job submit``.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime, time, timedelta

from sweeper.reporting.arguments import add_address
from trainer.command import Parser, amount, program
from trainer.config.yaml_file import as_yaml, space_content
from trainer.errors import ConfigError, exit_code
from trainer.signals import ended_by_signals


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    if arguments.json and not arguments.dry_run:
        raise ConfigError("is the form of a plan", field="--json", allowed="with --dry-run")
    # What is imported next takes seconds.
    print(f"reading {arguments.file}", flush=True, file=sys.stderr if arguments.json else sys.stdout)
    space_content(arguments.file)  # a file that is none is refused before it
    own = {"trials": arguments.trials, "name": arguments.name, **limits(arguments)}
    sets = [*arguments.set, *(f"{field}={as_yaml(value)}" for field, value in own.items() if value is not None)]
    with ended_by_signals():
        from sweeper.search.space_file import load_space  # noqa: PLC0415
    space = load_space(arguments.file, tuple(sets))
    with ended_by_signals():
        from sweeper.driver import drive  # noqa: PLC0415

    return drive(space, arguments)


def limits(arguments: argparse.Namespace) -> dict[str, float]:
    """The fields of the budget that ``--by`` and ``--max-cost`` stand for. Raises ConfigError."""
    found = {}
    if arguments.by is not None:
        found["budget.wall_hours"] = (arguments.by - datetime.now().astimezone()).total_seconds() / 3600
    if (arguments.max_cost is None) != (arguments.price is None):
        given, missing = ("--price", "--max-cost") if arguments.max_cost is None else ("--max-cost", "--price")
        raise ConfigError(f"needs {missing} as well: a cost is device hours times the price of one", field=given)
    if arguments.max_cost is not None:
        found["budget.device_hours"] = arguments.max_cost / arguments.price
    return found


def _time(text: str) -> datetime:
    """``18:00``, the next one, or a day and time of ISO 8601; in the zone of this machine where it states none."""
    now = datetime.now().astimezone()
    try:
        if "T" in text or " " in text:
            found = datetime.fromisoformat(text).astimezone()
        else:
            found = datetime.combine(now.date(), time.fromisoformat(text)).astimezone()
            found += timedelta(days=found <= now)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; allowed: 18:00, 2030-01-31T18:00") from None
    if found <= now:
        raise argparse.ArgumentTypeError(f"{text!r} has passed")
    return found


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
    made.add_argument(
        "--by",
        type=_time,
        metavar="TIME",
        help="begin nothing that would end later, such as 18:00 (budget.wall_hours)",
    )
    made.add_argument(
        "--max-cost", type=amount, metavar="COST", help="begin nothing that would cost more (budget.device_hours)"
    )
    made.add_argument("--price", type=amount, help="price of a device hour, for --max-cost")
    made.add_argument("--retry-failed", action="store_true", help="train again the configurations that have failed")
    made.add_argument("--device", type=_no_device, help=argparse.SUPPRESS)
    add_address(made)
    made.add_argument("--dry-run", action="store_true", help="print the plan and start nothing")
    made.add_argument("--json", action="store_true", help="with --dry-run, print the plan as JSON")
    return made


if __name__ == "__main__":
    sys.exit(exit_code(main))
