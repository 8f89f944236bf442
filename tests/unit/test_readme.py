"""What the README points to is there."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from sweeper import cil

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text()


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)", TEXT)
    assert len(links) > 10
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_page_is_listed() -> None:
    pages = {page.name for page in (ROOT / "docs").glob("*.md")}
    assert pages <= set(re.findall(r"docs/(\w+\.md)", TEXT))


COMMANDS = sorted(set(re.findall(r"python -m ((?:trainer|sweeper|benchmarks)\b.*?)(?:`|  +#|$)", TEXT, re.MULTILINE)))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_its_options_exist(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    module, *arguments = shlex.split(command)
    name = f"{module}.__main__" if module == "benchmarks.paper" else module
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(name).main(["--help"])
    assert ended.value.code == 0
    options = {argument.partition("=")[0] for argument in arguments if argument.startswith("--")}
    assert options <= set(re.findall(r"--[\w-]+", capsys.readouterr().out))


CIL = re.findall(r"^cil (.*)$", TEXT, re.MULTILINE)


@pytest.mark.parametrize("line", CIL)
def test_every_line_of_cil_is_accepted(line: str) -> None:
    command, *arguments = shlex.split(line, comments=True)
    importlib.import_module(cil.commands()[command]).parser().parse_args(arguments)


def test_own_images_take_six_lines() -> None:
    (block,) = [block for block in re.findall(r"```\n(.*?)```", TEXT, re.DOTALL) if "cil init" in block]
    words = [line.split() for line in block.splitlines()]
    assert [line[1] for line in words if line[0] == "cil"] == ["look", "init", "launch", "query", "promote"]
    assert len(words) == 6


def test_every_shipped_file_that_is_named_exists() -> None:
    named = set(re.findall(r"(?:search_spaces|runs)/\w+\.yaml", TEXT))
    made = {"search_spaces/photos.yaml", "runs/photos_start.yaml", "runs/photos.yaml"}  # by init and promote
    theirs = {"search_spaces/mine.yaml", "runs/digits.yaml", *made}  # what the reader makes
    assert {name for name in named - theirs if not (ROOT / name).exists()} == set()
