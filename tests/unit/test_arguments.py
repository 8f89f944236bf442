"""A mistyped command line is one line that names the option, what is allowed and the nearest match."""

import importlib

import pytest

from sweeper import cil, launch, promote, query, steer
from trainer import run
from trainer.command import Parser
from trainer.errors import exit_code

WRONG = {
    "an option": (launch, ["s.yaml", "--trails", "3"], "no such option: --trails; did you mean '--trials'?"),
    "an option with its value": (
        launch,
        ["s.yaml", "--resulst=x"],
        "no such option: --resulst; did you mean '--results'?",
    ),
    "nothing like it": (promote, ["s", "--qqq"], "no such option: --qqq"),
    "a choice": (query, ["--format", "jsn", "x"], "allowed: table, csv, json, parquet; did you mean 'json'?"),
    "an action": (steer, ["s", "paus"], "did you mean 'pause'?"),
    "an option of an action": (steer, ["s", "pause", "--resluts", "x"], "did you mean '--results'?"),
    "a word too many": (run, ["a.yaml", "b.yaml"], "unexpected argument: 'b.yaml'"),
    "a word that is missing": (launch, [], "required: file"),
}


@pytest.mark.parametrize("what", WRONG)
def test_it_is_one_line(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    command, words, said = WRONG[what]
    with pytest.raises(SystemExit) as ended:
        exit_code(lambda: command.main(words))
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert line.endswith(" --help")


@pytest.mark.parametrize("name", [name for name in cil.commands() if name not in ("completion", "paper")])
def test_every_command_reads_its_arguments_so(name: str) -> None:
    assert isinstance(importlib.import_module(cil.commands()[name]).parser(), Parser)
