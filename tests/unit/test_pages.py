"""What the pages show can be pasted: commands, files, queries and code; and their links lead somewhere."""

import ast
import importlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from ray.scripts import scripts

from support.methods import method_folder
from support.pages import (
    MADE_BY_THE_READER,
    PAGES,
    ROOT,
    Block,
    anchors,
    blocks,
    commands,
    links,
    markdown,
    named,
    prose,
)
from support.results import store_trials
from sweeper import cil
from sweeper.search.space_file import load_space
from sweeper.store.results import Results, open_results
from sweeper.store.steering import Request, submit
from sweeper.store.store import Store
from sweeper.store.sweep_file import check_unchanged
from trainer.config.files import load_run, parse_run
from trainer.config.run_config import RunConfig
from trainer.config.yaml_file import load_yaml

LANGUAGES = {"sh", "yaml", "python", "sql", "csv", "text"}
"""``text``: what is printed, and layouts of folders"""

OTHER_PROGRAMS = {
    *("chmod", "export", "kill", "sleep", "source", "tail"),
    *("kubectl", "make", "pip", "ray", "sbatch", "scancel", "ssh"),
}

pages = pytest.mark.parametrize("page", PAGES)


def of(*languages: str) -> list[Any]:
    """The blocks of all pages in these languages, as parameters of a test."""
    return [pytest.param(block, id=block.place) for page in PAGES for block in blocks(page, *languages)]


@pytest.fixture(scope="module", autouse=True)
def shown_methods(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The methods that the pages show in full are methods."""
    folder = tmp_path_factory.mktemp("methods")
    for page in PAGES:
        for block in blocks(page, "python"):
            (file,) = re.findall(r"`trainer/methods/(\w+\.py)`:$", markdown(page), re.MULTILINE) or [None]
            if file and "(Method)" in block.text:
                (folder / file).write_text(block.text)
    with method_folder(folder):
        yield


# -- blocks and links -----------------------------------------------------------------------------------


@pages
def test_every_block_says_its_language(page: str) -> None:
    assert [block.place for block in blocks(page) if block.language not in LANGUAGES] == []


@pages
def test_links_lead_somewhere(page: str) -> None:
    broken = []
    for link in links(page):
        file, _, anchor = link.partition("#")
        target = (ROOT / page).parent / file if file else ROOT / page
        name = target.resolve().relative_to(ROOT).as_posix() if target.exists() else ""
        if not name or (anchor and anchor not in anchors(name)):
            broken.append(link)
    assert broken == []


# -- commands -------------------------------------------------------------------------------------------


def own_command(words: list[str]) -> tuple[str, list[str]] | None:
    """The module of a command of this project, and its arguments; None for another program."""
    if words[0] == "cil":
        return cil.commands()[words[1]], words[2:]
    if words[:2] == ["python", "-m"]:
        package = (ROOT / words[2].replace(".", "/")).is_dir()
        return f"{words[2]}.__main__" if package else words[2], words[3:]
    return None


def check_ray(words: list[str]) -> None:
    """The command and its options are the installed Ray's."""
    command = scripts.cli
    for word in words[1:]:
        if isinstance(command, click.Group):
            command = command.commands[word]
    known = {option for parameter in command.params for option in parameter.opts}
    assert options(words) <= known


def help_of(module: str, capsys: pytest.CaptureFixture[str], *before: str) -> str:
    """What ``--help`` prints, after arguments that are parsed before it."""
    try:
        code = importlib.import_module(module).main([*before, "--help"])
    except SystemExit as ended:
        code = ended.code
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return printed.out


def options(words: list[str]) -> set[str]:
    return {word.partition("=")[0] for word in words if re.match("--[a-z]", word)}


def check_files(module: str, arguments: list[str]) -> None:
    """The files that a command names are there, and take what ``--set`` says."""
    if module == "pytest":
        assert (ROOT / arguments[0]).exists()
        return
    made = importlib.import_module(module)
    if not hasattr(made, "parser"):  # a benchmark
        files = [argument.rpartition("=")[2] for argument in arguments if argument.endswith(".yaml")]
        assert [file for file in files if not (ROOT / file).exists()] == []
        return
    parsed = made.parser().parse_args(arguments)
    file = getattr(parsed, "file", getattr(parsed, "images", ""))
    if file.endswith(".yaml") and file not in MADE_BY_THE_READER:
        (load_space if module == "sweeper.launch" else load_run)(file, tuple(parsed.set))


@pytest.mark.parametrize("block", of("sh"))
def test_commands_are_accepted(
    block: Block, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for words in commands(block.text):
        own = own_command(words)
        if own is None:
            assert words[0] in OTHER_PROGRAMS
            assert words[0] != "make" or words[1] in targets
            if words[0] == "ray":
                check_ray(words)
            continue
        module, arguments = own
        if module != "pytest":
            assert options(arguments) <= set(re.findall(r"--[\w-]+", help_of(module, capsys, *arguments)))
        check_files(module, arguments)


def test_blocks_of_shell_are_shell() -> None:
    for page in PAGES:
        for block in blocks(page, "sh"):
            found = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
            assert (found.returncode, found.stderr) == (0, ""), block.place


@pages
def test_commands_within_sentences_exist(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    for text in re.findall(r"`((?:cil|python -m) \w[^`]*)`", prose(page)):
        words = text.replace("'", "").replace('"', "").split()
        if words[2:3] not in (["pytest"], ["http.server"]) and words[1].islower():
            module, arguments = own_command(words) or ("", [])
            assert options(arguments) <= set(re.findall(r"--[\w-]+", help_of(module, capsys)))


# -- files ----------------------------------------------------------------------------------------------


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory like the checkout, with its run files."""
    shutil.copytree(ROOT / "runs", tmp_path / "runs")
    (tmp_path / "search_spaces").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", [page for page in PAGES if any(blocks(page, "yaml"))])
def test_files_are_accepted(page: str, work: Path) -> None:
    """Named in a block's first line, a file is there for the blocks below. Files may be shown in part."""
    for block in blocks(page, "yaml"):
        file = work / (named(block) or "search_spaces/x.yaml")
        file.write_text(block.text)
        content = load_yaml(file)
        if content.keys() <= RunConfig.model_fields.keys():
            parse_run({"method": {"name": "finetune"}, **content}, block.place)
        else:
            whole = "" if "base" in content else "base: ../runs/digits_lfs5.yaml\n"
            file.write_text(whole + ("" if "trials" in content else "trials: 1\n") + block.text)
            load_space(file)


@pytest.mark.parametrize("block", of("python"))
def test_code_compiles_and_imports_what_exists(block: Block) -> None:
    for node in ast.walk(ast.parse(block.text, block.place)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module or "")
            for alias in node.names:
                assert hasattr(module, alias.name) or importlib.import_module(f"{node.module}.{alias.name}")


# -- queries --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Two sweeps of digits with their search spaces, so that they have best configurations."""
    folder = tmp_path_factory.mktemp("results")
    for name in ("digits", "methods"):
        store = Store(folder, name)
        check_unchanged(load_space(ROOT / "search_spaces" / f"{name}.yaml"), store.folder, None, "images")
        store_trials(store, range(2), method="gradient_reweighting")
        submit(store.folder, Request("pause", "ada@host"))
    return open_results(folder)


def queries() -> list[Any]:
    """Blocks of SQL, arguments of the command that answers it, and SQL within sentences."""
    found = []
    for page in PAGES:
        found += [pytest.param(block.text, id=block.place) for block in blocks(page, "sql")]
        found += [pytest.param(text, id=page) for text in re.findall(r"`((?:SELECT|FROM) [^`]*)`", prose(page))]
        for block in blocks(page, "sh"):
            for words in commands(block.text):
                module, arguments = own_command(words) or ("", [])
                if module == "sweeper.query" and arguments and not arguments[0].startswith("-"):
                    found.append(pytest.param(arguments[0], id=block.place))
    return found


@pytest.mark.parametrize("query", queries())
def test_queries_have_rows(results: Results, query: str) -> None:
    assert results.sql(query).rows()
