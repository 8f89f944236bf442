"""The one command ``cil``: it knows every command, starts fast, and its completion offers what the parsers take."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sweeper import cil, completion
from trainer.command import words

ROOT = Path(__file__).parents[2]


def printed(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert cil.main(arguments) == code
    out, err = capsys.readouterr()
    return err if code else out


def test_every_command_is_there_and_explained_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    page = printed(capsys, "--help")
    known = cil.commands()
    assert {"run", "launch", "status", "query", "report", "promote", "replay", "compact", "doctor"} <= known.keys()
    assert {"main", "cil", "driver"}.isdisjoint(known)
    assert all(re.search(rf"^  {name} +\w", page, re.MULTILINE) for name in known)
    assert max(map(len, page.splitlines())) <= 120
    assert printed(capsys) == page


def test_the_page_explains_every_command() -> None:
    page = (ROOT / "docs" / "command.md").read_text()
    assert [name for name in cil.commands() if f"| `cil {name}" not in page] == []


def test_an_unknown_command_is_one_line_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "lanch", code=2) == "error: no such command: 'lanch'; did you mean 'launch'?\n"
    assert printed(capsys, "zzz", code=2).count("\n") == 1


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert re.fullmatch(r"cil \d+\.\d+\.\d+\n", printed(capsys, "--version"))


def test_a_command_gets_its_arguments_and_its_errors_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed(capsys, "status", "--results", str(tmp_path)) == f"no sweeps in {tmp_path}\n"
    assert printed(capsys, "query", "FROM best", "--results", str(tmp_path), code=2).startswith("error: ")


def test_commands_are_named_as_they_were_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/cil", "launch"])
    assert words("sweeper.query") == ["cil", "query"]
    assert words("trainer.run") == ["cil", "run"]
    monkeypatch.setattr(sys, "argv", ["/repo/sweeper/launch.py"])
    assert words("sweeper.query") == ["python", "-m", "sweeper.query"]


# -- completion -----------------------------------------------------------------------------------------


def completed(line: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What bash offers at the end of a line."""
    given = line.split(" ")
    script = f"""{printed(capsys, "completion", "bash")}
        COMP_WORDS=({" ".join(repr(word) for word in given)}); COMP_CWORD={len(given) - 1}
        _cil; printf '%s\\n' "${{COMPREPLY[@]}}" """
    run = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    return run.stdout.split()


def test_bash_completes_commands_options_and_choices(capsys: pytest.CaptureFixture[str]) -> None:
    assert completed("cil la", capsys) == ["launch"]
    assert completed("cil --v", capsys) == ["--version"]
    assert completed("cil launch --dr", capsys) == ["--dry-run"]
    assert completed("cil query --format c", capsys) == ["csv"]
    assert completed("cil completion z", capsys) == ["zsh"]
    assert completed("cil launch search", capsys) == []  # bash's own: files


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_names_every_command_and_option(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    script = printed(capsys, "completion", shell)
    for command in cil.commands():
        assert command in script
        for option in completion.options(command):
            assert all(name.lstrip("-") in script for name in option.names)
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


# -- the first second -------------------------------------------------------------------------------------


def test_a_signal_while_a_launch_is_imported_is_one_line() -> None:
    code = "import sys; from sweeper import launch; sys.exit(launch.main(['search_spaces/digits.yaml', '--dry-run']))"
    for how in (["-c", code], ["-m", "sweeper.launch", "search_spaces/digits.yaml", "--dry-run"]):
        started = subprocess.Popen(
            [sys.executable, *how], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert started.stdout is not None
        assert started.stdout.readline() == "reading search_spaces/digits.yaml\n"
        time.sleep(0.1)
        os.kill(started.pid, signal.SIGINT)
        out, err = started.communicate(timeout=60)
        assert (started.returncode, out, err) == (130, "", "stopped\n")
