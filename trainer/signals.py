"""Ctrl-C and SIGTERM end a command with one line, and with the exit code that a shell gives."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM)


def end_imports_quietly() -> None:
    """While Python imports one of our commands (``python -m``), a signal ends it at once: there is nothing to undo."""
    if sys.argv[:1] == ["-m"]:  # only until Python has found the module that it is to run
        for number in STOPPING:
            signal.signal(number, _end)


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Within, a signal ends the command at once with one line: what is imported there may not expect an exception."""
    before = [(number, signal.signal(number, _end)) for number in STOPPING]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


@contextlib.contextmanager
def interruptible() -> Iterator[list[int]]:
    """Within, the first signal is put into the list and raises KeyboardInterrupt; the second one kills."""
    received: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        received.append(number)
        for caught in STOPPING:
            signal.signal(caught, signal.SIG_DFL)
        raise KeyboardInterrupt

    before = [(number, signal.signal(number, interrupt)) for number in STOPPING]
    try:
        yield received
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, b"stopped\n")
    os._exit(128 + number)
