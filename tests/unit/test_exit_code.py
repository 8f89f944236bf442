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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_one_line(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "trainer.run", "runs/digits_lfs5.yaml", "--set", "optim.epochs=2000"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.5)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert errors == "stopped\n"
    assert process.returncode == 128 + number


def test_a_signal_within_code_that_is_made_of_text_has_the_same_exit_code(tmp_path: Path) -> None:
    """As dataclasses, named tuples and compilers make it."""
    text = "import signal; signal.raise_signal(signal.SIGTERM)"
    program = f"import sys; from trainer.errors import exit_code; sys.exit(exit_code(lambda: exec({text!r})))"
    (tmp_path / "command.py").write_text(program)
    command = [sys.executable, "-m", "command"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGTERM, "stopped\n")


def test_what_a_library_makes_of_an_interrupt_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> int:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise RuntimeError("Query interrupted") from None
        return 0

    before = signal.getsignal(signal.SIGTERM)
    assert exit_code(main) == 128 + signal.SIGTERM
    assert capsys.readouterr().err == "stopped\n"
    assert signal.getsignal(signal.SIGTERM) == before
