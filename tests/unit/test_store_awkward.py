"""Results folders as they are found: old, new, empty, with awkward names, with a file lost."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from support.results import result, store_trials
from support.sweeps import space_file
from sweeper import compact, launch, promote, query, replay, report, status
from sweeper.execution.plan import load_benchmark
from sweeper.execution.restore import stored_trials
from sweeper.promotion.candidates import Incumbent, evaluate_candidates
from sweeper.promotion.target import Target
from sweeper.reporting.ledger import Ledger
from sweeper.search.outcome import Goals
from sweeper.search.space_file import load_space
from sweeper.search.study import Study
from sweeper.store import schema
from sweeper.store.folder import Folder
from sweeper.store.results import open_results
from sweeper.store.sealed import sealed_json
from sweeper.store.store import Store
from sweeper.store.sweep_file import check_unchanged, read_space
from trainer.errors import exit_code
from trainer.results import parquet
from trainer.results.parquet import encode, to_arrow

SMALL = {"seeds": 1, "tasks": 1, "classes": False}
OBJECTIVE = sealed_json({"objective": {"metric": "acc_task_mean_pct", "split": "validation", "direction": "maximize"}})


def command(main: Callable[[list[str]], int], results: Path, *arguments: str | Path) -> int:
    return exit_code(lambda: main(["--results", str(results), *map(str, arguments)]))


# -- versions -----------------------------------------------------------------------------------------


def old(results: Path) -> None:
    folder = results / "s" / "trials"
    folder.mkdir(parents=True)
    (folder / "part-t000000.parquet").write_bytes(b"PAR1")


def newer(results: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "VERSION", 99)
        content = encode(to_arrow([result(0, 0)], schema.file_columns(), {"sweep": "s", "trial": 0}))
    folder = results / "s" / "runs"
    folder.mkdir(parents=True)
    (folder / "000000.parquet").write_bytes(content)


@pytest.mark.parametrize(("written", "version"), [(old, 1), (newer, 99)])
@pytest.mark.parametrize("name", ["launch", "query", "status", "compact"])
def test_another_schema_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], written: Callable[[Path], None], version: int, name: str
) -> None:
    results = tmp_path / "results"
    written(results)
    before = {file: file.read_bytes() for file in results.rglob("*.parquet")}
    match name:
        case "launch":
            code = command(launch.main, results, space_file(tmp_path))
        case "query":
            code = command(query.main, results, "FROM runs")
        case "status":
            code = command(status.main, results, "s")
        case _:
            code = command(compact.main, results, "s")
    assert code == 2
    printed, error = capsys.readouterr()
    assert printed == (f"reading {tmp_path}/s.yaml\n" if name == "launch" else "")
    assert error.count("\n") == 1
    assert f"schema version {version}, and this version of the code reads 2" in error
    assert {file: file.read_bytes() for file in results.rglob("*.parquet")} == before


def test_a_sweep_of_an_older_schema_does_not_hide_the_others(tmp_path: Path) -> None:
    old(tmp_path)
    store_trials(Store(tmp_path, "present"), [0])
    named: list[str] = []
    opened = open_results(tmp_path, report=named.append)
    assert opened.sql("SELECT DISTINCT sweep FROM runs").rows() == [{"sweep": "present"}]
    assert len(named) == 1
    assert "schema version 1" in named[0]


# -- nothing there ------------------------------------------------------------------------------------


def test_a_sweep_without_a_finished_trial_has_empty_tables(tmp_path: Path) -> None:
    for name, folder in {"empty": "runs", "nothing": "checkpoints"}.items():
        (tmp_path / name / folder).mkdir(parents=True)
        (tmp_path / name / "space.yaml").write_bytes(OBJECTIVE)
    opened = open_results(tmp_path)
    for table in ("runs", "tasks", "epochs", "classes", "promotions", "seeds", "best"):
        assert opened.sql(f"FROM {table}").rows() == []
    assert [row["spent_s"] for row in opened.sql("FROM ledger").rows()] == [0, 0]
    for name in ("empty", "nothing"):
        store = Store(tmp_path, name)
        assert store.trials() == set()
        store.compact()
        assert store.read().num_rows == 0


def test_a_results_folder_without_sweeps_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "something else").mkdir()
    assert command(query.main, tmp_path, "FROM runs") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert command(status.main, tmp_path) == 0
    assert capsys.readouterr().out == f"no sweeps in {tmp_path}\n"


# -- names --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bob's", "k' OR 1=1 --", 'a"b', "$sweep", "ü ; DROP"])
def test_names_mean_nothing_to_sql(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    store_trials(Store(tmp_path, "other"), range(3))
    store_trials(Store(tmp_path, name), [5])
    for sweep in ("other", name):
        (tmp_path / sweep / "space.yaml").write_bytes(OBJECTIVE)
    opened = open_results(tmp_path)
    assert opened.sql("SELECT trial FROM best WHERE sweep = $name", name=name).rows() == [{"trial": 5}]
    assert opened.sql("SELECT count(*) AS n FROM runs WHERE sweep = $name", name=name).rows() == [{"n": 2}]
    assert Ledger.of(opened, name).spent_s == 4.0
    assert command(query.main, tmp_path, "SELECT trial FROM best", "--sweep", name, "--format", "csv") == 0
    assert capsys.readouterr().out.split() == ["trial", "5"]
    for main, arguments in ((report.main, [name, "--out", str(tmp_path / "out")]), (promote.main, [name])):
        code = command(main, tmp_path, *arguments)
        error = capsys.readouterr().err
        assert code == 2, "a space without a base has nothing to report or to promote"
        assert error.count("\n") == 1
        assert "Parser Error" not in error
        assert name in error


@pytest.mark.parametrize("name", ["bob's", "k' OR 1=1 --", 'a"b $sweep', "ü ; DROP %s {x} *"])
def test_commands_run_with_any_name(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Two sweeps of one search: what is asked of one is not answered from the other."""
    file, results = space_file(tmp_path), tmp_path / "results"
    for sweep, trials in (("other", 9), (name, 3)):
        space = load_space(file, (f"name={json.dumps(sweep)}", f"trials={trials}"))
        store = Store(results, space.name)
        check_unchanged(space, store.folder, None, load_benchmark(space).fingerprint)
        runs = {n: space.configs({"method.alpha": 1.0 + n, "method.lambda": 0.5}) for n in range(trials)}
        for number, configs in runs.items():
            ended = [result(number, c.seed, config_id=c.config_id, run_id=c.run_id) for c in configs]
            store.finish_trial(number, ended, attempt="a", params={"method.alpha": 1.0 + number, "method.lambda": 0.5})
    assert command(launch.main, results, file, "--name", name, "--trials", "3") == 0
    printed = capsys.readouterr().out
    assert "3 of 3 configurations" in printed
    for main, *arguments in (
        (query.main, "SELECT count(*) AS n FROM runs", "--sweep", name),
        (status.main, name),
        (status.main,),
        (report.main, name, "--out", tmp_path / "out"),
        (replay.main, name, "--pruning", "NopPruner"),
        (compact.main, name),
    ):
        assert command(main, results, *arguments) == 0, capsys.readouterr().err
        printed = capsys.readouterr().out
        assert {query.main: "6", compact.main: "3 files merged into 1", replay.main: "0 of 3"}.get(
            main, name
        ) in printed
    assert (tmp_path / "out" / f"{name}.png").exists()
    space = read_space(Folder.at(results).child(name))
    seen: list[str] = []
    with pytest.raises(StopIteration):
        evaluate_candidates(
            space,
            Incumbent.of(tmp_path / "no.yaml", Target.of(space)),
            Store(results, "p"),
            top=5,
            n=2,
            say=stop_after(seen),
        )
    assert "top 3 of 3" in seen[0]


def stop_after(seen: list[str]) -> Callable[[str], None]:
    def say(line: str) -> None:
        seen.append(line)
        raise StopIteration

    return say


@pytest.mark.parametrize(
    "name", ["../k", "..", ".", ".k", "a/b", "/etc", "-k", "--help", "a\nb", "", " ", "k ", "x" * 201]
)
def test_a_name_that_names_no_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (tmp_path / "k").mkdir()
    (tmp_path / "k" / "space.yaml").write_bytes(OBJECTIVE)
    results = tmp_path / "results"
    store_trials(Store(results, "s"), [0], **SMALL)
    before = sorted(tmp_path.rglob("*"))
    assert command(launch.main, results, space_file(tmp_path), f"--name={name}") == 2
    for main in (status, report, replay, compact, promote):
        options = ["--pruning=NopPruner"] if main is replay else []
        code = command(main.main, results, *options, "--", name)
        assert code == 2, (main, name)
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 6
    assert "cannot name a file" in errors[0]
    assert all("no sweep" in line for line in errors[1:])
    assert sorted(tmp_path.rglob("*")) == sorted({*before, tmp_path / "s.yaml"})


def test_a_run_file_is_written_into_its_folder_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store_trials(Store(tmp_path, "s"), [0])
    space = load_space(space_file(tmp_path))
    check_unchanged(space, Folder.at(tmp_path).child("s"), None, "images")
    assert command(promote.main, tmp_path, "s", "--name", "../elsewhere") == 2
    assert capsys.readouterr().err.startswith("error: name: '../elsewhere' cannot name a file")


# -- what was suggested -------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [None, b"", b"{", b'{"1": 3}', b'{"x": {}}', b"[]"])
def test_lost_suggestions_cost_no_finished_trial(tmp_path: Path, content: bytes | None) -> None:
    space = load_space(space_file(tmp_path, trials=8))
    named: list[str] = []
    store = Store(tmp_path, space.name, report=named.append)
    study = Study(space)
    suggested = {}
    for _ in range(5):
        suggestion = study.ask()
        assert suggestion is not None
        suggested[suggestion.number] = suggestion.params
    store.suggest(suggested)
    for trial in (1, 4):
        store.finish_trial(trial, [result(trial, 0)], attempt="a", params=suggested[trial])
    file = tmp_path / space.name / "suggested.json"
    assert file.exists()
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    store = Store(tmp_path, space.name, report=named.append)
    assert store.suggested() == {}
    assert len(named) == (content is not None)
    again = Study(space)
    again.restore(stored_trials(store, Goals("acc_task_mean_pct")), store.suggested())
    numbers = []
    while (suggestion := again.ask()) is not None:
        numbers.append(suggestion.number)
        store.finish_trial(suggestion.number, [result(suggestion.number, 0)], attempt="b", params=suggestion.params)
    assert numbers == [0, 2, 3, 5, 6, 7]
    rows = store.read(["trial", "attempt"]).to_pylist()
    assert {row["trial"] for row in rows if row["attempt"] == "a"} == {1, 4}
    assert len(rows) == 8
