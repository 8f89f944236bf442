"""A process that dies at a file operation."""

import builtins
import os
from collections.abc import Callable
from typing import Any

from sweeper.store.folder import Folder

DIED = 9


def dies_at(operation: int, action: Callable[[], object]) -> bool:
    """Run ``action`` in a child that exits just before its n-th open, write, sync, rename or deletion.

    Returns whether it died; it did not if there are fewer operations.
    """
    child = os.fork()
    if not child:
        left = [operation]

        def counted(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **options: Any) -> Any:
                left[0] -= 1
                if not left[0]:
                    os._exit(DIED)
                return real(*arguments, **options)

            return call

        try:
            for name in ("open", "write", "fsync", "replace", "rename", "link", "unlink", "remove"):
                setattr(os, name, counted(getattr(os, name)))
            builtins.open = counted(builtins.open)
            deleted = Folder.delete  # Arrow deletes without Python
            Folder.delete = counted(deleted)  # type: ignore[method-assign]
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, DIED)
    return code == DIED
