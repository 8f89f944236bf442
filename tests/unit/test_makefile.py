"""The Makefile says what it can do, and what must hold before a change lands is made of its targets."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()


def targets() -> set[str]:
    (names,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    return set(names.split())


def test_help_names_every_target_in_a_line() -> None:
    words = ["make", "--no-print-directory", "help"]
    shown = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    named = re.findall(r"^make ([\w-]+) +\S", shown, re.MULTILINE)
    assert len(named) == len(shown.splitlines())
    assert set(named) == targets() - {"help"}


def test_every_target_has_a_recipe() -> None:
    assert targets() <= set(re.findall(r"^([\w-]+):", MAKEFILE, re.MULTILINE))


def test_continuous_integration_runs_lint_types_and_all_tests() -> None:
    run = (ROOT / ".ci" / "run").read_text()
    assert re.findall(r"^make (.*)$", run, re.MULTILINE) == ["lint", "types", "test"]
