"""Temporary folders of this process, which go with it: those that a killed process has left go with the next one."""

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sweeper.store.folder import Folder

_OWNER = ".cil-owner"
"""a file that its process keeps locked while it lives, whatever process ids mean where another one looks"""


@contextlib.contextmanager
def scratch_folder(prefix: str, above: str) -> Iterator[str]:
    """A folder within ``above`` that this user alone can enter, until the end of the block.

    Those of the same prefix that killed processes have left are deleted first. Raises OSError if it cannot be made.
    """
    _delete_abandoned(prefix, above)
    folder = tempfile.mkdtemp(prefix=prefix, dir=above)
    try:
        with open(f"{folder}/{_OWNER}.new", "w") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX)
            os.rename(owner.name, f"{folder}/{_OWNER}")  # once it is locked, so that nobody takes it for abandoned
            yield folder
    finally:
        Folder.at(folder).remove()


def _delete_abandoned(prefix: str, above: str) -> None:
    """Delete folders of this user that have a file of an owner who is no more. All others are left alone."""
    with contextlib.suppress(OSError):
        for folder in Path(above).glob(f"{prefix}*"):
            with contextlib.suppress(OSError):  # of another user, in use, or not one of ours
                found = folder.lstat()
                private = stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) == stat.S_IRWXU
                if private and found.st_uid == os.geteuid():
                    with open(folder / _OWNER) as owner:
                        fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        Folder.at(folder).remove()
