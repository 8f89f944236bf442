"""Steer a running sweep: ``python -m sweeper.steer SWEEP add|stop|pause|resume|trials|note [--results DIR]``.

A request is a small file in the sweep's folder, which its driver takes within seconds. It is checked before it is
written.
"""

import argparse
import getpass
import socket
import sys
from collections.abc import Sequence
from functools import partial

from sweeper.reporting.arguments import add_results
from sweeper.store.damage import Damage
from sweeper.store.folder import Folder
from sweeper.store.status_file import Status, read_state
from sweeper.store.steering import Request, is_paused, read_steering, submit
from sweeper.store.sweeps import find_sweep, is_promotion
from trainer.command import Parser, at_least, program
from trainer.errors import ConfigError, UserError, exit_code, nearest

_say = partial(print, flush=True)


class SteeringError(UserError):
    """A request that the sweep cannot follow as it stands."""


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    sweep = find_sweep(arguments.results, arguments.sweep)
    status, state = read_state(sweep, Damage())
    if is_promotion(arguments.sweep):
        raise SteeringError(f"{sweep}: a promotion cannot be steered, only a search")
    if status is None:
        raise SteeringError(f"{sweep}: its driver has not said yet how it stands; try again once it has, or launch it")
    if state == "finished":
        raise SteeringError(f"{sweep}: finished: nothing is left to steer; launch its file with more --trials")
    request = _request(arguments, sweep, status, state)
    number = submit(sweep, request)
    if state == "running":
        _say(f"steering {number}: {request.action}: the driver takes it within seconds")
    else:
        _say(f"steering {number}: {request.action}: no driver runs; kept for the next launch of the sweep's file")
    return 0


def _request(arguments: argparse.Namespace, sweep: Folder, status: Status, state: str) -> Request:
    """What is asked, checked. Raises UserError."""
    make = partial(Request, arguments.action, f"{getpass.getuser()}@{socket.gethostname()}")
    match arguments.action:
        case "add":
            return make(params=_added(sweep, arguments.values))
        case "stop":
            _check_runs(arguments.trial, sweep, status, state)
            return make(number=arguments.trial)
        case "trials":
            _check_total(arguments.total, sweep, status)
            return make(number=arguments.total)
        case "note":
            return make(text=" ".join(arguments.text))
        case _:
            if is_paused(read_steering(sweep, Damage())) == (arguments.action == "pause"):
                raise SteeringError(f"{sweep}: {'paused already' if arguments.action == 'pause' else 'not paused'}")
            return make()


def _added(sweep: Folder, values: Sequence[str]) -> dict[str, object]:
    from sweeper.search.by_hand import added  # noqa: PLC0415  (Optuna is slow to import)
    from sweeper.store.sweep_file import read_space  # noqa: PLC0415
    from trainer.config.files import parse_sets  # noqa: PLC0415

    return added(read_space(sweep), dict(parse_sets(values)))


def _check_runs(trial: int, sweep: Folder, status: Status, state: str) -> None:
    running = [str(found.trial) for found in status.running] if state == "running" else []
    if str(trial) not in running:
        raise ConfigError(
            f"trial {trial} is not in training",
            file=str(sweep),
            field="stop",
            allowed=", ".join(running) or "none now",
            nearest=nearest(str(trial), running),
        )


def _check_total(total: int, sweep: Folder, status: Status) -> None:
    from sweeper.search.by_hand import check_total  # noqa: PLC0415  (Optuna is slow to import)
    from sweeper.store.sweep_file import read_space  # noqa: PLC0415

    check_total(read_space(sweep), total, status.done + len(status.running))


def parser() -> argparse.ArgumentParser:
    """The arguments of this command."""
    made = Parser(
        prog=program("sweeper.steer"),
        description="Steer a running sweep. The driver takes a request within seconds, or the next launch does.",
    )
    made.add_argument("sweep", help="name of the sweep")
    actions = made.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="train a configuration with these values next")
    add.add_argument(
        "values", nargs="+", metavar="DIMENSION=VALUE", help="a value; the sampler suggests those that are not given"
    )
    stop = actions.add_parser("stop", help="stop a trial after the task that it is in")
    stop.add_argument("trial", type=at_least(0), help="number of the trial")
    pause = actions.add_parser("pause", help="start no trial until the sweep is resumed; those in training end")
    resume = actions.add_parser("resume", help="resume a paused sweep")
    trials = actions.add_parser("trials", help="change the total number of configurations")
    trials.add_argument("total", type=at_least(1), help="total number of configurations, finished ones included")
    note = actions.add_parser("note", help="record a text with the sweep's requests")
    note.add_argument("text", nargs="+", help="the text")
    for action in (add, stop, pause, resume, trials, note):
        add_results(action)
    return made


if __name__ == "__main__":
    sys.exit(exit_code(main))
