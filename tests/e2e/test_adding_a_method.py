"""Does what docs/adding_a_method.md says, with the page's own words."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from support.methods import method_folder
from support.runs import FEW_IMAGES, tiny_run
from sweeper.search.space_file import load_space
from trainer.errors import ConfigError
from trainer.methods.base import METHODS, Method
from trainer.run import main
from trainer.training.options import DeviceOptions
from trainer.training.session import train

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adding_a_method.md").read_text()


def block(language: str) -> str:
    """The page's only block in this language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return str(found)


NAME = re.findall(r"`trainer/methods/(\w+)\.py`:", PAGE)[0]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder of methods that holds the page's file."""
    (tmp_path / f"{NAME}.py").write_text(block("python"))
    with method_folder(tmp_path):
        yield tmp_path


def test_the_file_is_all_it_takes_to_run_it(folder: Path) -> None:
    assert NAME in METHODS.names()
    (found,) = train([tiny_run(NAME, {"weight": 4.0}, data=FEW_IMAGES)], DeviceOptions(device="cpu"))
    assert (found.status, found.config["method_name"], found.config["method_weight"]) == ("finished", NAME, 4.0)
    said = r"method\.wieght: no such field of weighted_replay; allowed: weight; did you mean"
    with pytest.raises(ValidationError, match=said):
        tiny_run(NAME, {"wieght": 4.0})


def test_the_command_of_the_page_runs_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = re.findall(r"^python -m trainer\.run (runs/.*)$", PAGE, re.MULTILINE)
    file, *arguments = shlex.split(line)
    quick = ["--set", "optim.epochs=1", "--set", "optim.milestones=[]", "--device", "cpu"]
    assert main([str(ROOT / file), *arguments, *quick]) == 0
    assert capsys.readouterr().out.startswith(f"{NAME} on digits")


def test_its_field_is_swept(folder: Path) -> None:
    spaces = folder / "search_spaces"
    spaces.mkdir()
    (folder / "runs").symlink_to(ROOT / "runs")
    file = spaces / f"{NAME}.yaml"
    file.write_text(block("yaml"))
    space = load_space(file)
    configs = [config for weight in (0.5, 20.0) for config in space.configs({"method.weight": weight})]
    assert {(config.method.name, config.seed) for config in configs} == {(NAME, seed) for seed in (0, 1, 2)}
    assert len({config.first_task_id for config in configs}) == 3, "the first task is shared by all weights"
    assert all(config.trains_together_with(configs[0]) for config in configs)
    file.write_text(block("yaml").replace("high: 20", "high: 2000"))
    with pytest.raises(ConfigError, match=r"vary\.method\.weight: 2000\.0 .*less than or equal to 100"):
        load_space(file)


def outcome(which: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", which, "-k", NAME, "--methods", folder, "-p", "no:cacheprovider"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_it_is_held_to_what_every_method_promises(folder: Path) -> None:
    tested = re.findall(r"python -m pytest (tests/contract\S*) -k (\w+)", PAGE)
    assert [name for _, name in tested] == [NAME]
    found = outcome(tested[0][0], folder)
    assert found.returncode == 0, found.stdout
    passed = re.search(r"(\d+) passed", found.stdout)
    assert passed
    assert int(passed[1]) >= 15


@pytest.mark.slow
def test_without_recorded_numbers_a_line_says_how_to_make_them(folder: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "tests/golden",
        "-k",
        NAME,
        "--methods",
        folder,
        "-p",
        "no:cacheprovider",
    ]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert found.returncode == 1
    assert f"write them with: python -m pytest tests/golden -k {NAME} --update-golden" in found.stdout
    assert re.search(rf"^python -m pytest tests/golden -k {NAME} --update-golden$", PAGE, re.MULTILINE)


def test_the_page_names_every_hook() -> None:
    hooks = [name for name, value in vars(Method).items() if callable(value) and not name.startswith(("_", "model_"))]
    assert len(hooks) > 5
    assert not [name for name in hooks if f"`{name}`" not in PAGE]


def test_a_file_without_a_method_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty_file.py").write_text("")
    with (
        method_folder(tmp_path),
        pytest.raises(ConfigError, match=r"empty_file\.py must define one subclass of Method"),
    ):
        METHODS.find("empty_file")
