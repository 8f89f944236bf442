"""A folder of decoded images. An entry appears whole or not at all, whoever else builds it at the same time.

What a disk or a hand has changed in it since is noticed, and made again.
"""

import contextlib
import fcntl
import functools
import json
import os
import shutil
import socket
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from trainer.errors import DataError, os_reason
from trainer.words import WARNING

_CHECKSUMS = "crc32.json"
_CHUNK_BYTES = 1 << 20
_READ_BYTES = 1 << 30
"""a larger file is known by the time of its last change: every process would read all of it before it trains"""


def root() -> Path:
    """``$CIL_CACHE``, or ``~/.cache/imbalanced-cil``."""
    return Path(os.environ.get("CIL_CACHE") or "~/.cache/imbalanced-cil").expanduser()


def entry(key: str, build: Callable[[Path], None]) -> Path:
    """The folder of ``key``; where it is missing, ``build`` fills a temporary folder that is then renamed to it.

    One whose files have changed since is named in a line on stderr, and built again. Raises DataError where the cache
    cannot be written.
    """
    found = root() / key
    if _whole(found):
        return found
    try:
        with lock(key):
            if not _whole(found):
                if found.is_dir():
                    print(
                        f"{WARNING}the image cache entry {found} is damaged: its images are decoded again",
                        file=sys.stderr,
                    )
                    _remove(found)
                _build(found, build)
    except OSError as error:
        raise DataError(
            f"the image cache {root()} cannot be written: {os_reason(error)}; set CIL_CACHE to another folder"
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
    temporary = Path(tempfile.mkdtemp(prefix=_temporary_prefix(), dir=root()))
    try:
        build(temporary)
        (temporary / _CHECKSUMS).write_text(json.dumps(_checksums(temporary)))
        try:
            temporary.rename(found)
        except OSError:
            if not found.is_dir():  # otherwise another machine was first, and its entry is as good
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _whole(folder: Path) -> bool:
    """Whether an entry is there, and as it was built. Its files are read once a process, while they stay the same."""
    try:
        states = {file: file.stat() for file in sorted(folder.iterdir())}
    except OSError:
        return False
    return _unchanged(folder, tuple((state.st_ino, state.st_size, state.st_mtime_ns) for state in states.values()))


@functools.lru_cache(maxsize=64)
def _unchanged(folder: Path, states: tuple[tuple[int, ...], ...]) -> bool:
    """``states`` of the files: where one of them changes, the answer is another one."""
    try:
        return bool(json.loads((folder / _CHECKSUMS).read_text()) == _checksums(folder))
    except (OSError, ValueError):
        return False


def _checksums(folder: Path) -> dict[str, int]:
    """Of each file of an entry, by name."""
    found: dict[str, int] = {}
    for path in sorted(folder.iterdir()):
        if path.name != _CHECKSUMS:
            state = path.stat()
            found[path.name] = _crc32(path) if state.st_size <= _READ_BYTES else state.st_mtime_ns
    return found


def _crc32(path: Path) -> int:
    found = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            found = zlib.crc32(chunk, found)
    return found


def _remove(found: Path) -> None:
    """Remove an entry, at once for those who look for it."""
    away = Path(tempfile.mkdtemp(prefix=_temporary_prefix(), dir=root()))
    with contextlib.suppress(FileNotFoundError):  # without locks another process may be first
        found.rename(away / found.name)
    shutil.rmtree(away, ignore_errors=True)


def _temporary_prefix() -> str:
    return f".tmp.{socket.gethostname()}.{os.getpid()}."


def _remove_abandoned() -> None:
    """Temporary folders of builders on this machine that were killed."""
    host = f".tmp.{socket.gethostname()}."
    for left in root().glob(f"{host}*"):
        with contextlib.suppress(PermissionError, ValueError):  # another user's process, or no folder of this kind
            try:
                os.kill(int(left.name.removeprefix(host).split(".")[0]), 0)
            except ProcessLookupError:
                shutil.rmtree(left, ignore_errors=True)
