"""Which operating systems the project runs on."""

import sys
from pathlib import Path

_WINDOWS = "this project runs on Linux and macOS; on Windows, install WSL (wsl --install) and run it there"


def refuse_windows() -> None:
    """On Windows, where file locks and signals of ours do not exist: one line and exit code 2 for a command.

    Raises ImportError for a program that imports the project.
    """
    if sys.platform != "win32":
        return
    if sys.argv[:1] == ["-m"] or Path(sys.argv[0]).stem == "cil":
        print(f"error: {_WINDOWS}", file=sys.stderr)
        raise SystemExit(2)
    raise ImportError(_WINDOWS)
