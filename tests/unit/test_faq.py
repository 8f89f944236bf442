"""docs/faq.md: its commands and files exist, its queries run, and its code gives a run's own numbers."""

import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from support.results import store_trials
from sweeper import cil, query
from sweeper.search.space_file import load_space
from sweeper.store.results import Results, open_results
from sweeper.store.store import Store
from sweeper.store.sweep_file import check_unchanged
from trainer import run

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "faq.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_is_accepted(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    program, command, *arguments = shlex.split(line, comments=True)
    assert program == "cil"
    parsed = importlib.import_module(cil.commands()[command]).parser().parse_args(arguments)
    if command == "launch":
        load_space(parsed.file, tuple(parsed.set))
    if command == "run":
        assert (ROOT / parsed.file).is_file()


def test_commands_within_the_text_exist() -> None:
    named = re.findall(r"`cil ([a-z]+)([^`]*)`", PAGE)
    assert named
    for command, rest in named:
        parser = importlib.import_module(cil.commands()[command]).parser()
        assert set(re.findall(r"--[\w-]+", rest)) <= set(re.findall(r"--[\w-]+", parser.format_help()))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A sweep of digits with its search space, so that it has a best configuration."""
    folder = tmp_path_factory.mktemp("results")
    store = Store(folder, "digits")
    check_unchanged(load_space(ROOT / "search_spaces" / "digits.yaml"), store.folder, None, "images")
    store_trials(store, range(2), method="gradient_reweighting")
    return open_results(folder)


@pytest.mark.parametrize("asked", [*QUERIES, *(shlex.split(c)[2] for c in COMMANDS if c.startswith("cil query"))])
def test_a_query_has_rows(results: Results, asked: str) -> None:
    assert results.sql(asked).rows()


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that the page's code defines, for a run that is trained in seconds."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    short = ["--set", "optim.epochs=1", "--set", "protocol.tasks=2"]
    assert run.main([str(ROOT / "runs" / "digits_lfs5.yaml"), "--out", "out/digits", "--device", "cpu", *short]) == 0
    names: dict[str, Any] = {}
    exec(code, names)
    return names


def test_the_weights_give_the_accuracy_that_the_run_has(
    trained: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = [trained["images"].class_names_C[label] for label in trained["images"].eval_labels_N]
    hits = [name == label for name, label in zip(trained["names"], labels, strict=True)]
    by_class = "SELECT acc_pct, eval_images FROM classes WHERE task = (SELECT max(task) FROM classes)"
    rows = open_results(tmp_path / "out" / "digits").sql(by_class).rows()
    expected = sum(row["acc_pct"] / 100 * row["eval_images"] for row in rows)
    assert sum(hits) == pytest.approx(expected)


def test_the_columns_that_it_sends_to_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert query.main(["--columns", "classes"]) == 0
    assert "acc_pct" in capsys.readouterr().out
