"""What the commands of this project are called, and how they read their arguments.

They are ``cil launch`` where that was typed, else ``python -m sweeper.launch``.
"""

import argparse
import re
import shlex
import sys
from pathlib import Path
from typing import Any, NoReturn

from trainer.errors import did_you_mean

_OTHERS = {"trainer.run": "run", "benchmarks.paper": "paper"}


_REFUSED = re.compile(r"argument (.+?): invalid choice: (.+) \(choose from (.+)\)")


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
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def _named_cil() -> bool:
    return Path(sys.argv[0]).stem == "cil"
