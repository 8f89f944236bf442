"""How configurations are named to people."""

from pathlib import Path

import pytest

from support.results import store_trials
from sweeper import query
from sweeper.reporting.leaderboard import print_top
from sweeper.search.space import Objective
from sweeper.search.words import format_params, short_names
from sweeper.store.results import open_results
from sweeper.store.store import Store


def test_fields_are_short_where_they_are_clear() -> None:
    fields = ["optim.lr", "method.lambda", "stage2.lr"]
    assert list(short_names(fields).values()) == ["optim.lr", "lambda", "stage2.lr"]
    assert format_params({"optim.lr": 0.05, "method.lambda": 1.0}) == "lr 0.05, lambda 1"
    assert format_params({"optim.lr": 0.05, "stage2.lr": 0.1}) == "optim.lr 0.05, stage2.lr 0.1"


def test_what_was_not_measured_is_a_dash_and_comes_last(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path, "s")
    for trial, value in enumerate((None, 40.0)):
        store_trials(store, [trial], acc_few_pct=value)
    print_top(open_results(tmp_path, "s"), Objective(metric="acc_few_pct"))
    _, best, other = capsys.readouterr().out.splitlines()
    assert best.split() == ["1", "1.5", "40.00", "±", "0.00", "2", "4.0"]
    assert other.split() == ["0", "0.5", "-", "2", "4.0"]
    assert query.main(["SELECT trial, acc_few_pct FROM seeds ORDER BY 1", "--results", str(tmp_path)]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()[1:]] == [["0", "-"], ["1", "40"]]
