"""The one way in which a local file is written: whole or not at all, and there after a power cut."""

import os
import uuid
from pathlib import Path


def atomic_write(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Write a temporary file in the same folder, sync it, rename it, sync the folder. The folder must exist.

    A reader sees the old file or the new one, never a part. Raises OSError, which names the file; then nothing is left
    behind. Without ``sync`` the last writes may be lost in a power cut.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        error.filename, error.filename2 = str(path), None  # a write that fails for want of space names none
        raise
    finally:
        temporary.unlink(missing_ok=True)
    if not sync:
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
