"""Every command that a test starts has its output searched for tracebacks."""

import subprocess
import sys

import pytest

RAISES = "try: raise OSError('lost')\nexcept OSError: __import__('traceback').print_exc()\nraise SystemExit({})"


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("code", [0, 2])
def test_a_traceback_fails_the_test_that_started_the_command(text: bool, code: int) -> None:
    words, pipe = [sys.executable, "-c", RAISES.format(code)], subprocess.PIPE
    with pytest.raises(AssertionError, match="OSError: lost"):
        subprocess.run(words, capture_output=True, text=text, check=False)
    process = subprocess.Popen(words, stdout=pipe, stderr=subprocess.STDOUT, text=text)
    with pytest.raises(AssertionError, match="OSError: lost"):
        process.communicate(timeout=60)


def test_code_of_the_users_own_may_raise() -> None:
    ended = subprocess.run([sys.executable, "-c", "1 / 0"], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.endswith("division by zero\n")
