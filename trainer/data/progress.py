"""How far the decoding of a large set is: a bar on a terminal, otherwise a line every half minute; on stderr."""

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")

_QUIET_S = 2.0
"""nothing is shown for what is done within this time"""
_EVERY_S = 30.0


@contextlib.contextmanager
def counted(items: Iterator[T], name: str, total: int) -> Iterator[Iterator[T]]:
    """The same items, counted while they pass."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _with_lines(items, name, total)
        return
    columns = (TextColumn("decoding {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        yield _with_bar(items, bar, name, total)


def _with_bar(items: Iterator[T], bar: Progress, name: str, total: int) -> Iterator[T]:
    task = bar.add_task(name, total=total, visible=False)
    started = time.monotonic()
    for item in items:
        yield item
        bar.update(task, advance=1, visible=time.monotonic() - started > _QUIET_S)


def _with_lines(items: Iterator[T], name: str, total: int) -> Iterator[T]:
    started = said = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - said > _EVERY_S:
            said, left_s = now, (now - started) / done * (total - done)
            print(f"decoding {name}: {done} of {total} images, {left_s / 60:.0f} min left", file=sys.stderr)
