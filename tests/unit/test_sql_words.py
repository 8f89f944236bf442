"""A query may name fields as run files do, and a name that is none of SQL's gets a hint."""

from pathlib import Path

import pytest

from support.results import store_trials
from sweeper import query
from sweeper.store import schema
from sweeper.store.results import QueryError, Results, open_results
from sweeper.store.sql_words import with_columns
from sweeper.store.store import Store

COLUMNS = [column.name for column in schema.configuration_columns()]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("results")
    store_trials(Store(folder, "digits"), range(2), method="gradient_reweighting")
    return open_results(folder)


@pytest.mark.parametrize("name", ["method.lambda", '"method.lambda"', "method_lambda", 's."method.lambda"'])
def test_a_field_is_found_by_each_of_its_names(results: Results, name: str) -> None:
    rows = results.sql(f"SELECT {name} AS x FROM seeds AS s WHERE {name} > 0 ORDER BY {name}").rows()
    assert [row["x"] for row in rows] == [0.7, 0.7]


@pytest.mark.parametrize(
    "unchanged",
    [
        "SELECT 'method.lambda' FROM runs -- method.lambda",
        "SELECT $$method.lambda$$, 'ü', \"a.b\" FROM runs /* method.lambda */",
        "SELECT r.method.lambda, data.trial, net.f(x), my_method.lambda",
        "SELECT 'no end",
        "",
    ],
)
def test_nothing_else_is_replaced(unchanged: str) -> None:
    assert with_columns(unchanged, COLUMNS) == unchanged


def test_deeper_fields_and_text_of_other_alphabets() -> None:
    asked = "SELECT 'ü€', data.imbalance.ratio, \"optim.lr\" FROM runs"
    assert with_columns(asked, COLUMNS) == "SELECT 'ü€', data_imbalance_ratio, optim_lr FROM runs"


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("SELECT lambda FROM seeds", "lambda is a keyword of DuckDB: write method_lambda"),
        ("SELECT trial FROM seeds ORDER BY lambda", "lambda is a keyword of DuckDB: write method_lambda"),
        ("SELECT alpha FROM seeds", "; alpha is the column method_alpha"),
        ("SELECT ratio FROM runs", "; ratio is the column method_task_ratio or data_imbalance_ratio"),
        ("SELECT method.lamda FROM runs", "no such field: method.lamda; did you mean 'method.lambda'?"),
        ("FROM digits", "digits is a sweep, not a table: FROM seeds WHERE sweep = 'digits'"),
        ("FROM seed", "no such table: seed; allowed: runs, tasks, "),
        ("FROM seed", "did you mean 'seeds'?"),
    ],
)
def test_hints(results: Results, asked: str, hint: str) -> None:
    with pytest.raises(QueryError) as refused:
        results.sql(asked)
    assert hint in str(refused.value)


def test_a_query_needs_no_quotes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store_trials(Store(tmp_path, "s"), [0], tasks=1)
    assert query.main(["SELECT", "trial", "FROM", "seeds", "--results", str(tmp_path), "--format", "csv"]) == 0
    assert capsys.readouterr().out.split() == ["trial", "0"]


def test_without_a_query_it_says_in_a_screen_what_can_be_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert query.main([]) == 0
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) <= 24
    assert all(f"\n  {name} " in shown for name in (*schema.tables(), *schema.views()))


def test_the_columns_of_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert query.main(["--columns", "best"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == [column.name for column in schema.views()["best"]]
