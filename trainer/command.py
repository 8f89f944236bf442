"""What the commands of this project are called, and how they read their arguments.

They are ``cil launch`` where that was typed, else ``python -m sweeper.launch``.
"""

import argparse
import math
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from trainer.errors import did_you_mean

_OTHERS = {"trainer.run": "run", "benchmarks.paper": "paper"}


_REFUSED = re.compile(r"argument (.+?): invalid choice: (.+) \(choose from (.+)\)")
_OF_NO_KIND = re.compile(r"(argument .+?): invalid (\w.*) value: (.+)")
_KINDS = {"int": "a whole number", "float": "a number"}


def words(module: str) -> list[str]:
    """The words that start the command of a module, in the way in which this process was started."""
    if _named_cil():
        return ["cil", _OTHERS.get(module, module.rpartition(".")[2])]
    return ["python", "-m", module]


def program(module: str) -> str:
    """The same as one text, for a command's help."""
    return shlex.join(words(module))


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, with the nearest option; exit code 2."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does it, but that what it does not know is an error, of the command's action too."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            options = [one for one in unknown if one.startswith("-")]
            if not options:
                self.error(f"unexpected argument: {unknown[0]!r}")
            name = options[0].partition("=")[0]
            self.error(f"no such option: {name}{did_you_mean(name, self._option_string_actions)}")
        return found, []

    def error(self, message: str) -> NoReturn:
        refused = _REFUSED.fullmatch(message)
        if refused:
            name, given, allowed = refused.groups()
            known = allowed.replace("'", "").split(", ")
            near = did_you_mean(given.strip("'"), known)
            message = f"{name}: {given} is not allowed; allowed: {', '.join(known)}{near}"
        misread = _OF_NO_KIND.fullmatch(message)
        if misread:
            name, kind, given = misread.groups()
            message = f"{name}: {given} is not {_KINDS.get(kind, 'allowed')}"
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def at_least(smallest: int) -> Callable[[str], int]:
    """The type of an option that is a whole number, ``smallest`` or more."""

    def parse(text: str) -> int:
        if not text.removeprefix("-").isdecimal():
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
        if int(text) < smallest:
            raise argparse.ArgumentTypeError(f"{text}: must be at least {smallest}")
        return int(text)

    return parse


def amount(text: str) -> float:
    """The type of an option that is a finite number above 0."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 < found < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not an amount; allowed: a number above 0")
    return found


def _named_cil() -> bool:
    return Path(sys.argv[0]).stem == "cil"
