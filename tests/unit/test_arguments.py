"""A mistyped command line is one line that names the option, what is allowed and the nearest match."""

import importlib
from pathlib import Path

import pytest

from benchmarks.gpu import __main__ as gpu
from benchmarks.landscape import __main__ as landscape
from benchmarks.paper import __main__ as paper
from sweeper import cil, launch, promote, query, steer
from trainer import run
from trainer.command import Parser
from trainer.errors import exit_code

ROOT = Path(__file__).parents[2]
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
    "a number that is none": (launch, ["s.yaml", "--trials", "x"], "--trials: 'x' is not a whole number"),
    "another number that is none": (launch, ["s.yaml", "--max-cost", "nan"], "--max-cost: 'nan' is not an amount"),
    "an option of a benchmark": (landscape, ["digits", "--replay", "0"], "--replays: 0: must be at least 1"),
    "members of a benchmark": (gpu, ["--members", "1,a"], "--members: 'a' is not a whole number"),
    "time of a benchmark": (gpu, ["--minutes", "nan"], "--minutes: 'nan' is no number of minutes"),
    "seeds of a table": (paper, ["table1", "--seeds", "a"], "--seeds: 'a' is not allowed"),
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


@pytest.mark.parametrize("name", list(cil.commands()))
def test_every_command_reads_its_arguments_so(name: str) -> None:
    assert isinstance(importlib.import_module(cil.commands()[name]).parser(), Parser)


def test_no_command_reads_them_otherwise() -> None:
    files = [file for folder in ("trainer", "sweeper", "benchmarks") for file in (ROOT / folder).rglob("*.py")]
    assert [file.name for file in files if "argparse.ArgumentParser(" in file.read_text()] == []


def test_a_small_budget_is_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(ROOT / "search_spaces/debug.yaml"), "--max-cost", "0.00001", "--price", "2", "--set", "base=none"]
    assert exit_code(lambda: launch.main(words)) == 2
    assert "budget" not in capsys.readouterr().err
