"""SQL over results: what the views hold, in which forms it comes, and that nothing can be written."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support.results import result
from sweeper import query
from sweeper.store import schema
from sweeper.store.results import QueryError, open_results
from sweeper.store.sealed import sealed_json
from sweeper.store.store import Store
from trainer import tables
from trainer.errors import StoreError, exit_code
from trainer.results.folder import write_results
from trainer.results.parquet import ResultsFile, encode
from trainer.results.rows import RunResult


def space(metric: str = "acc_task_mean_pct", direction: str = "maximize") -> bytes:
    return sealed_json({"objective": {"metric": metric, "split": "validation", "direction": direction}})


def run(trial: int, seed: int, acc: float | None, **more: Any) -> RunResult:
    values = {"forgetting_pct": None if acc is None else 100 - acc, "device_s": 2.0, "saved_s": 0.5, **more}
    return result(trial, seed, acc, tasks=1, classes=False, **values)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    first = Store(folder, "first")
    first.folder.write("space.yaml", space())
    first.finish_trial(
        0, [run(0, s, acc) for s, acc in enumerate((80.0, 82.0))], attempt="a", params={"method.alpha": 1}
    )
    first.finish_trial(
        1, [run(1, s, acc) for s, acc in enumerate((85.0, 84.0))], attempt="a", params={"method.alpha": 2}
    )
    first.finish_trial(2, [run(2, 0, 99.0), run(2, 1, math.nan, status="diverged")], attempt="a")
    first.finish_trial(3, [run(3, 0, 98.0, status="pruned")], attempt="a")
    first.finish_trial(4, [run(4, 0, 97.0, split="test")], attempt="a")
    first.finish_trial(5, [run(5, 0, None, status="failed", error="out of memory")], attempt="a")
    second = Store(folder, "second")
    second.folder.write("space.yaml", space("forgetting_pct", "minimize"))
    second.finish_trial(0, [run(0, 0, 70.0)], attempt="a")
    second.finish_trial(1, [run(1, 0, 60.0)], attempt="a")
    return folder


def test_best_follows_the_objective_over_whole_configurations(results: Path) -> None:
    best = open_results(results).sql("FROM best ORDER BY sweep").arrow().to_pylist()
    assert best[0] == {
        "sweep": "first",
        "trial": 1,
        "config_id": "c1",
        "metric": "acc_task_mean_pct",
        "split": "validation",
        "direction": "maximize",
        "mean": 84.5,
        "std": pytest.approx(math.sqrt(0.5)),
        "n": 2,
        "params_json": '{"method.alpha": 2}',
    }
    assert (best[1]["sweep"], best[1]["trial"], best[1]["mean"], best[1]["std"]) == ("second", 0, 30.0, None)


def test_seeds_joins_the_seeds_of_a_configuration(results: Path) -> None:
    rows = open_results(results, "first").sql("FROM seeds ORDER BY trial").arrow().to_pylist()
    assert [(r["trial"], r["n"], r["status"]) for r in rows] == [
        (0, 2, "finished"),
        (1, 2, "finished"),
        (2, 2, "diverged"),
        (3, 1, "pruned"),
        (4, 1, "finished"),
        (5, 1, "failed"),
    ]
    first = rows[0]
    assert (first["acc_task_mean_pct"], first["acc_task_mean_std_pct"]) == (81.0, pytest.approx(math.sqrt(2)))
    assert (first["device_s"], first["saved_s"], first["method_name"]) == (4.0, 1.0, "finetune")
    assert rows[2]["acc_task_mean_pct"] == 99.0, "of the seeds that have a number"


def test_all_sweeps_count_or_one(results: Path) -> None:
    everything = open_results(results)
    assert everything.sql("SELECT count(*) AS n FROM tasks").arrow()["n"].to_pylist() == [11]
    assert everything.sql("SELECT DISTINCT sweep FROM tasks ORDER BY 1").arrow()["sweep"].to_pylist() == [
        "first",
        "second",
    ]
    one = open_results(results, "second").sql("SELECT count(*) AS n FROM runs").arrow()
    assert one["n"].to_pylist() == [2]


def test_merging_changes_no_answer_whatever_columns_are_asked_for(results: Path) -> None:
    queries = (
        "SELECT seed FROM runs WHERE trial = 1 AND status = 'finished' ORDER BY seed",
        "SELECT count(*) AS n FROM runs WHERE acc_task_mean_pct > 84",
        "SELECT COLUMNS('_pct$') FROM runs WHERE sweep IN ('first', 'no') ORDER BY ALL",
        "SELECT error FROM runs WHERE error IS NOT NULL",
        "SELECT acc_by_task_pct, t.seed FROM tasks JOIN runs AS t USING (run_id) WHERE t.trial < 2 ORDER BY ALL",
        "SELECT trial, versions['torch'] AS torch, method_tau FROM runs ORDER BY ALL",
        "FROM best ORDER BY ALL",
        "FROM seeds ORDER BY ALL",
    )
    before = [open_results(results).sql(text).arrow().to_pylist() for text in queries]
    assert all(before)
    for sweep in ("first", "second"):
        Store(results, sweep).compact()
        half_merged = [open_results(results).sql(text).arrow().to_pylist() for text in queries]
        assert repr(half_merged) == repr(before)


def test_views_have_the_columns_that_the_page_lists(results: Path) -> None:
    opened = open_results(results)
    for name, columns in {**schema.tables(), **schema.views()}.items():
        found = opened.sql(f"SELECT * FROM {name} LIMIT 0").arrow().schema
        assert found.names == [column.name for column in columns], name
    listed = opened.sql("SHOW TABLES").arrow()["name"].to_pylist()
    assert sorted(listed) == sorted([*schema.tables(), *schema.views()])


def test_the_folder_of_a_single_run_is_read(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write_results(out, [run(0, 3, 80.0)])
    opened = open_results(out)
    assert opened.sql("SELECT sweep, trial, seed FROM runs").rows() == [{"sweep": "out", "trial": None, "seed": 3}]
    assert opened.sql("SELECT task FROM tasks").arrow().num_rows == 1
    assert opened.sql("SELECT acc_task_mean_pct AS a FROM seeds").arrow()["a"].to_pylist() == [80.0]
    assert opened.sql("FROM best").arrow().num_rows == 0
    assert open_results(tmp_path).sql("FROM runs").arrow().num_rows == 1


def test_a_damaged_file_is_named_and_the_rest_answers(results: Path) -> None:
    file = results / "first" / "runs" / "000001.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    named: list[str] = []
    opened = open_results(results, report=named.append)
    assert opened.sql("SELECT trial FROM best WHERE sweep = 'first'").arrow()["trial"].to_pylist() == [0]
    assert len(named) == 1
    assert "000001.parquet" in named[0]
    (results / "first" / "space.yaml").write_text("objective: [")
    assert opened.sql("FROM best").arrow()["sweep"].to_pylist() == ["second"]
    assert "first/space.yaml" in named[1]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO runs VALUES (1)",
        "DELETE FROM runs",
        "UPDATE runs SET seed = 1",
        "DROP VIEW best",
        "CREATE TABLE x AS SELECT 1",
        "COPY runs TO '{out}'",
        "EXPORT DATABASE '{out}'",
        "ATTACH '{out}'",
        "SET enable_external_access = true",
        "PRAGMA enable_profiling",
        "INSTALL httpfs",
        "SELECT 1; DROP VIEW best",
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM '{file}'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{out}'",
        "SELECT * FROM table_of_this_test",
    ],
)
def test_nothing_is_written_and_no_other_file_is_read(results: Path, tmp_path: Path, statement: str) -> None:
    table_of_this_test = open_results(results).sql("SELECT 1").arrow()
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    file = results / "first" / "runs" / "000001.parquet"
    with pytest.raises(QueryError) as caught:
        open_results(results).sql(statement.format(out=tmp_path / "out", file=file))
    assert str(caught.value)
    assert table_of_this_test.num_rows == 1
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def command(results: Path, *arguments: str) -> int:
    return exit_code(lambda: query.main([*arguments, "--results", str(results)]))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("SELECT acc_task_mean FROM runs",), 'Candidate bindings: "acc_task_mean_pct"'),
        (("FROM rums",), "did you mean 'runs'?"),
        (("SELEC 1",), 'syntax error at or near "SELEC"'),
        (("",), "expected one SQL statement, found 0"),
        (("DELETE FROM runs",), "results are read-only: DELETE is refused, SELECT is allowed"),
        (("FROM best", "--sweep", "frist"), "no sweep 'frist'; did you mean 'first'?"),
    ],
)
def test_a_bad_query_is_one_line_and_exit_2(
    results: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    assert command(results, *arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert says in printed.err


def test_no_results_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(tmp_path / "none", "FROM best") == 2
    assert "no results" in capsys.readouterr().err
    with pytest.raises(StoreError):
        open_results(tmp_path)


def test_the_answer_comes_in_each_form(
    results: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    sql = "SELECT trial, acc_task_mean_pct AS acc, versions FROM runs WHERE sweep = 'first' AND trial < 3 ORDER BY 1, 2"

    def printed(form: str) -> bytes:
        assert command(results, sql, "--format", form) == 0
        return capfdbinary.readouterr().out

    as_json = json.loads(printed("json"))
    assert as_json[0] == {"trial": 0, "acc": 80.0, "versions": {"torch": "2"}}
    assert as_json[-1]["acc"] is None, "JSON has no NaN"
    as_csv = list(csv.DictReader(io.StringIO(printed("csv").decode())))
    assert as_csv[1] == {"trial": "0", "acc": "82.0", "versions": '{"torch": "2"}'}
    assert printed("table").decode().splitlines()[:2] == [
        "trial  acc  versions",
        '0      80   {"torch": "2"}',
    ]
    assert pq.read_table(io.BytesIO(printed("parquet"))).num_rows == 6
    assert command(results, sql, "--format", "parquet", "--out", str(tmp_path / "x.parquet")) == 0
    assert pq.read_table(tmp_path / "x.parquet").num_rows == 6


def test_notebooks_get_arrow_pandas_and_polars(results: Path) -> None:
    answer = open_results(results).sql("SELECT trial, acc_task_mean_pct AS acc FROM seeds WHERE sweep = 'second'")
    assert sorted(answer.arrow()["trial"].to_pylist()) == [0, 1]
    assert sorted(answer.pandas()["acc"]) == [60.0, 70.0]
    assert sorted(answer.polars()["acc"]) == [60.0, 70.0]


def test_times_are_told_in_utc(results: Path) -> None:
    answer = open_results(results).sql("SELECT started_at FROM runs").arrow()
    assert str(answer.schema.field(0).type) == "timestamp[us, tz=UTC]"


def test_columns_of_one_name_are_all_shown() -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array(["x"])], names=["a", "a"])
    assert tables.as_bytes(table, "csv") == b"a,a\n1,x\n"
    assert tables.as_bytes(table, "table") == b"a  a\n1  x\n"


def test_columns_of_methods_that_this_code_lacks_are_answered(tmp_path: Path) -> None:
    """Also where two versions of a method declare a field differently."""
    for trial, (name, value) in enumerate({"method_mine": 7, "method_mine_too": "x"}.items()):
        own = Store(tmp_path, f"sweep{trial}")
        own.finish_trial(0, [result(0, 0)], attempt="a")
        runs = own.folder.child("runs")
        file = ResultsFile(runs.read_buffer("000000.parquet"))
        table = file.read(file.schema)
        for column in (name, "method_shared"):
            table = table.add_column(0, column, pa.array([value]))
        runs.write("000000.parquet", encode(table))
    found = open_results(tmp_path).sql("SELECT sweep, method_mine, method_mine_too, method_shared FROM runs ORDER BY 1")
    assert [tuple(row.values()) for row in found.rows()] == [("sweep0", 7, None, "7"), ("sweep1", None, "x", "x")]


def test_a_sweep_without_results_has_every_column(tmp_path: Path) -> None:
    Store(tmp_path, "new").suggest({0: {"method.lambda": 0.5}})
    (tmp_path / "new" / "runs").mkdir(exist_ok=True)
    assert open_results(tmp_path).sql("SELECT method_lambda FROM seeds").rows() == []
