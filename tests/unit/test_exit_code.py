"""What a command's end reads like."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trainer.errors import DataError, exit_code

ROOT = Path(__file__).parents[2]


def test_a_users_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> int:
        raise DataError("/data:\n  no such folder")

    assert exit_code(main) == 2
    assert capsys.readouterr().err == "error: /data: no such folder\n"


def test_an_error_of_ours_keeps_its_traceback() -> None:
    def main() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        exit_code(main)


def test_ctrl_c_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "trainer.run", "runs/digits_lfs5.yaml", "--set", "optim.epochs=2000"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    pipe = subprocess.PIPE
    # What a shell runs in the background ignores SIGINT; a command inherits that, but not a handler.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)
    signal.signal(signal.SIGINT, before)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert errors == "stopped\n"
    # Python itself ends as killed where the signal met an import; a shell calls both 130.
    assert process.returncode in (130, -signal.SIGINT)
