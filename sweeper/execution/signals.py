"""Handle Ctrl-C and SIGTERM at safe points."""

import signal
from types import FrameType


class Stopped(BaseException):
    """Ctrl-C or SIGTERM was received; raised at a safe point."""


class StopSignal:
    """Remembers SIGINT and SIGTERM until ``check``; the second one kills.

    A handler that raises would not do: Ray waits in C++ and turns an exception raised there into a different error.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    @property
    def exit_code(self) -> int:
        """The exit code that a shell gives a program ended by the signal."""
        return 128 + (self.number or 0)

    def check(self) -> None:
        """Raises Stopped if a signal has come."""
        if self.number is not None:
            raise Stopped

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        for caught in (signal.SIGINT, signal.SIGTERM):
            signal.signal(caught, signal.SIG_DFL)
