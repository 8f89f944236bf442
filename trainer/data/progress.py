"""How far the decoding of a large set is: a bar on a terminal, otherwise a line every half minute; on stderr."""

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")

_QUIET_S = 2.0
"""nothing is shown for what is done within this time"""
_EVERY_S = 30.0


@contextlib.contextmanager
def counted(items: Iterator[T], name: str, total: int) -> Iterator[Iterator[T]]:
    """The same items, counted while they pass."""
    if not sys.stderr.isatty():
        yield _with_lines(items, name, total)
        return
    from trainer.data.progress_bar import counted_by_bar  # noqa: PLC0415  (needs rich, on a terminal alone)

    with counted_by_bar(items, name, total, _QUIET_S) as counted_items:
        yield counted_items


def _with_lines(items: Iterator[T], name: str, total: int) -> Iterator[T]:
    started = said = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - said > _EVERY_S:
            said, left_s = now, (now - started) / done * (total - done)
            print(f"decoding {name}: {done} of {total} images, {left_s / 60:.0f} min left", file=sys.stderr)
