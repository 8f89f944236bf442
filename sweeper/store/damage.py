"""Damaged files are skipped, and each is named once."""

import sys
from collections.abc import Callable

from trainer.words import WARNING


class Damage:
    """Names each damaged file once."""

    def __init__(self, report: Callable[[str], None] | None = None) -> None:
        """``report`` takes the line that names a file (default: a warning on stderr)."""
        self._report = report or (lambda line: print(f"{WARNING}{line}", file=sys.stderr))
        self._named: set[str] = set()

    def skipped(self, file: str, reason: object) -> None:
        """Say that a file is skipped, and why."""
        if file not in self._named:
            self._named.add(file)
            self._report(f"{file}: skipped: {reason}")
