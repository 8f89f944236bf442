"""Handle Ctrl-C and SIGTERM at safe points."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from trainer.signals import STOPPING

_replace = signal.signal


class Stopped(BaseException):
    """Ctrl-C or SIGTERM was received; raised at a safe point."""


class StopSignal:
    """Remembers SIGINT and SIGTERM until ``check``; the second one kills.

    A handler that raises would not do: Ray waits in C++ and turns an exception raised there into a different error.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        for number in STOPPING:
            _replace(number, self._note)

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
        for caught in STOPPING:
            _replace(caught, signal.SIG_DFL)


@contextlib.contextmanager
def kept_handlers() -> Iterator[None]:
    """Within, handlers stay as they are: Ray would put its own for SIGTERM in their place while it starts."""
    signal.signal = lambda number, handler: signal.getsignal(number)  # type: ignore[assignment]
    try:
        yield
    finally:
        signal.signal = _replace
