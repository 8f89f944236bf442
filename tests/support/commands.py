"""Commands as users start them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "120"}


class Process(subprocess.Popen[Any]):
    """A process whose output is searched for tracebacks: ``conftest.py`` makes it what all tests start."""

    def communicate(self, *arguments: Any, **options: Any) -> tuple[Any, Any]:
        streams = super().communicate(*arguments, **options)
        for content in streams:
            printed = content.decode(errors="replace") if isinstance(content, bytes) else content
            assert_no_traceback(printed or "", self.returncode)
        return streams


def assert_no_traceback(printed: str, code: int) -> None:
    """Users see none, unless their own code has raised: then the exit code is 1, which tests look at."""
    assert code == 1 or "Traceback (most recent call last)" not in printed, printed


def start(module: str, *arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    """Its output and errors, once it has ended with this code."""
    output, errors = process.communicate(timeout=240)
    assert process.returncode == code, output + errors
    return output, errors
