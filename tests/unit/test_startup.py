"""What a command imports before it answers: whoever asks how a sweep stands does not wait for torch, Ray and Optuna."""

import subprocess
import sys
from pathlib import Path

import pytest

from support.results import result
from sweeper.store.status_file import Status
from sweeper.store.store import Store

ROOT = Path(__file__).parents[2]
SLOW = ("torch", "ray", "optuna", "matplotlib", "pandas")
"""packages whose import takes a good part of a second, or seconds"""


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A results folder with a sweep that has ended."""
    store = Store(tmp_path, "digits")
    store.finish_trial(0, [result(0, 0), result(0, 1)], attempt="a", params={"method.lambda": 0.5})
    Status(total=1, done=1, state="finished").write(store.folder)
    return tmp_path


def imported(module: str, *arguments: str) -> set[str]:
    """Those of the slow packages that a command has imported when it has answered."""
    code = f"import sys, {module} as command; code = command.main(sys.argv[1:]); print(code, *sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    code, *modules = ended.stdout.splitlines()[-1].split()
    assert code == "0"
    return {name.partition(".")[0] for name in modules} & {*SLOW, "duckdb"}


def test_arguments_are_read_and_explained_without_a_slow_package() -> None:
    code = """
import importlib, sys
from sweeper import cil
for name, module in cil.commands().items():
    if name != "paper":  # its arguments list what its tables hold
        importlib.import_module(module).parser().format_help()
        print(name, *sys.modules)
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    for line in ended.stdout.splitlines():
        name, *modules = line.split()
        assert not {"torch", "ray", "optuna", "matplotlib", "duckdb"} & set(modules), name


@pytest.mark.parametrize("command", ["sweeper.launch", "trainer.run", "sweeper.look"])
def test_a_file_that_cannot_be_read_is_refused_before_anything_slow(command: str, tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("a: [")
    code = f"import sys, {command} as command\nfrom trainer.errors import exit_code\n"
    code += "for file in sys.argv[1:]: print(exit_code(lambda: command.main([file])), *sys.modules)"
    files = [str(tmp_path / name) for name in ("missing.yaml", "broken.yaml")]
    ended = subprocess.run([sys.executable, "-c", code, *files], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stderr.count("error: ") == 2
    answers = [line for line in ended.stdout.splitlines() if line.startswith("2 ")]
    assert len(answers) == 2
    assert not any(set(SLOW) & set(line.split()) for line in answers)


def test_the_list_of_sweeps_imports_no_slow_package(stored: Path) -> None:
    assert imported("sweeper.status", "--results", str(stored)) == set()


def test_one_sweep_in_detail_and_a_query_import_duckdb_alone(stored: Path) -> None:
    assert imported("sweeper.status", "digits", "--results", str(stored)) == {"duckdb"}
    assert imported("sweeper.query", "SELECT * FROM seeds", "--results", str(stored)) == {"duckdb"}
