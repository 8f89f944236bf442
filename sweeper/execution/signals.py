"""Ctrl-C and SIGTERM, noticed where stopping does no harm."""

from __future__ import annotations

import signal
from types import FrameType


class Stopped(BaseException):
    """Ctrl-C or SIGTERM, raised where it does no harm."""


class StopSignal:
    """Remembers SIGINT and SIGTERM until ``check``; the second one kills.

    A handler that raises is no use here: Ray waits in C++ and turns what is raised there into another error.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    @property
    def exit_code(self) -> int:
        """As a shell has it for a program that the signal ended."""
        return 128 + (self.number or 0)

    def check(self) -> None:
        """Raises Stopped if a signal has come."""
        if self.number is not None:
            raise Stopped

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        for caught in (signal.SIGINT, signal.SIGTERM):
            signal.signal(caught, signal.SIG_DFL)
