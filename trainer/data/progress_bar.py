"""The bar of a long decoding on a terminal."""

import contextlib
import time
from collections.abc import Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")


@contextlib.contextmanager
def counted_by_bar(items: Iterator[T], name: str, total: int, quiet_s: float) -> Iterator[Iterator[T]]:
    """The same items, counted on stderr while they pass, once they have taken ``quiet_s`` seconds."""
    columns = (TextColumn("decoding {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield _shown(items, bar, name, total, quiet_s)


def _shown(items: Iterator[T], bar: Progress, name: str, total: int, quiet_s: float) -> Iterator[T]:
    task = bar.add_task(name, total=total, visible=False)
    started = time.monotonic()
    for item in items:
        yield item
        bar.update(task, advance=1, visible=time.monotonic() - started > quiet_s)
