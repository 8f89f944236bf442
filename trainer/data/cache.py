"""A folder of decoded images. An entry appears whole or not at all, whoever else builds it at the same time."""

import contextlib
import fcntl
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from trainer.errors import DataError


def root() -> Path:
    """``$CIL_CACHE``, or ``~/.cache/imbalanced-cil``."""
    return Path(os.environ.get("CIL_CACHE") or "~/.cache/imbalanced-cil").expanduser()


def entry(key: str, build: Callable[[Path], None]) -> Path:
    """The folder of ``key``; where it is missing, ``build`` fills a temporary folder that is then renamed to it.

    Raises DataError where the cache cannot be written.
    """
    found = root() / key
    if found.is_dir():
        return found
    try:
        with lock(key):
            if not found.is_dir():
                _build(found, build)
    except OSError as error:
        raise DataError(
            f"the image cache {root()} cannot be written: {error.strerror or error}; set CIL_CACHE to another folder"
        ) from error
    return found


@contextlib.contextmanager
def lock(name: str) -> Iterator[None]:
    """One process of this machine at a time. It only saves work: without it, entries stay whole all the same."""
    root().mkdir(parents=True, exist_ok=True)
    with (root() / f".{name}.lock").open("w") as file:
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(found: Path, build: Callable[[Path], None]) -> None:
    _remove_abandoned()
    prefix = f".tmp.{socket.gethostname()}.{os.getpid()}."
    temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=root()))
    try:
        build(temporary)
        try:
            temporary.rename(found)
        except OSError:
            if not found.is_dir():  # otherwise another machine was first, and its entry is as good
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove_abandoned() -> None:
    """Temporary folders of builders on this machine that were killed."""
    host = f".tmp.{socket.gethostname()}."
    for left in root().glob(f"{host}*"):
        with contextlib.suppress(PermissionError, ValueError):  # another user's process, or no folder of this kind
            try:
                os.kill(int(left.name.removeprefix(host).split(".")[0]), 0)
            except ProcessLookupError:
                shutil.rmtree(left, ignore_errors=True)
