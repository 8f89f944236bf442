"""Files that were deleted, copied or swapped within a results folder: named, and never another sweep's numbers."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from support.results import result, store_trials
from sweeper import query, report
from sweeper.store.damage import Damage
from sweeper.store.folder import Folder
from sweeper.store.results import open_results
from sweeper.store.schema import PromotionRow
from sweeper.store.sealed import sealed_json
from sweeper.store.status_file import Status
from sweeper.store.store import Store
from sweeper.store.sweeps import promotion_of
from trainer.errors import exit_code
from trainer.results.folder import write_results

SPACE = {"objective": {"metric": "acc_task_mean_pct", "split": "validation", "direction": "maximize"}}


def decision() -> PromotionRow:
    """A decision that nobody took."""
    words = dict.fromkeys(("config_id", "name", "file", "decision", "reason", "metric", "split", "query"), "x")
    numbers = dict.fromkeys(("mean_pct", "interval_low_pct", "interval_high_pct", "incumbent_mean_pct"), 50.0)
    absent = dict.fromkeys(
        ("std_pct", "incumbent_config_id", "incumbent_std_pct", "git_commit", "data_fingerprint"), None
    )
    decided_at = datetime(2026, 1, 1, tzinfo=UTC)
    return PromotionRow(sweep="s", trial=3, seeds=[1], n=1, decided_at=decided_at, **words, **numbers, **absent)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A sweep whose trial 4 of 6 is in training, and its promotion."""
    store = Store(tmp_path, "s")
    store.folder.write("space.yaml", sealed_json(SPACE))
    store.suggest({4: {}})
    store_trials(store, [0, 1, 2, 3, 5], tasks=1)
    Status(8, done=5).write(store.folder)
    store_trials(Store(tmp_path, promotion_of("s")), range(3), tasks=1)
    return tmp_path


def read(results: Path) -> tuple[set[tuple[str, int]], list[str]]:
    """The trials that count, and the lines that name files."""
    named: list[str] = []
    rows = open_results(results, report=named.append).sql("SELECT DISTINCT sweep, trial FROM runs").rows()
    return {(row["sweep"], row["trial"]) for row in rows}, [line.removeprefix(f"{results}/") for line in named]


def test_a_whole_folder_is_nothing_to_speak_of(results: Path) -> None:
    assert read(results)[1] == []


def test_a_merged_file_of_other_trials_hides_no_file(results: Path) -> None:
    """As it would, if it counted: what a relaunch trains again lies beside it."""
    runs = results / "s" / "runs"
    Store(results, "s").compact()
    (merged,) = runs.glob("000000-*.parquet")
    store_trials(Store(results, "s"), [7], tasks=1)
    other = runs / "000007.parquet"
    content = merged.read_bytes()
    merged.write_bytes(other.read_bytes())
    other.write_bytes(content)
    store_trials(Store(results, "s"), [0, 1, 2, 7], tasks=1)
    trials, named = read(results)
    assert {trial for sweep, trial in trials if sweep == "s"} >= {0, 1, 2, 7}
    assert f"s/runs/{merged.name}: skipped: it holds rows of other trials than its name says" in "\n".join(named)


def test_a_status_of_another_sweep_is_named(results: Path) -> None:
    promotion = Folder.at(results / "s-promotion")
    Status(3, done=3).write(promotion)
    sweep, other = results / "s" / "status.json", results / "s-promotion" / "status.json"
    content = sweep.read_bytes()
    sweep.write_bytes(other.read_bytes())
    other.write_bytes(content)
    for folder, its in (("s", "s-promotion"), ("s-promotion", "s")):
        named: list[str] = []
        assert Status.read(Folder.at(results / folder), Damage(named.append)) is None
        assert f"{folder}/status.json: skipped: it is of the sweep {its}" in "\n".join(named)


def test_a_folder_that_was_renamed_keeps_its_status(results: Path) -> None:
    (results / "s").rename(results / "t")
    found = Status.read(Folder.at(results / "t"), Damage(pytest.fail))
    assert found is not None
    assert found.done == 5


@pytest.mark.parametrize("trial", [0, 3, 5])
def test_a_deleted_file_is_named(results: Path, trial: int) -> None:
    (results / "s" / "runs" / f"{trial:06d}.parquet").unlink()
    found, named = read(results)
    assert ("s", trial) not in found
    assert [line.partition(":")[0] for line in named] == [f"s/runs/{trial:06d}.parquet"]


def test_a_deleted_merged_file_is_named(results: Path) -> None:
    Store(results, "s").compact()
    (results / "s" / "runs" / "000000-000003.parquet").unlink()
    found, named = read(results)
    assert {trial for sweep, trial in found if sweep == "s"} == {5}
    assert [line.partition(":")[0] for line in named] == ["s/runs/000000-000003.parquet"]


def promotion_file(results: Path) -> None:
    shutil.copy(results / "s-promotion" / "runs" / "000001.parquet", results / "s" / "runs" / "000001.parquet")


def single_run(results: Path) -> None:
    write_results(results / "s", [result(0, 0)])


@pytest.mark.parametrize(("damage", "trial"), [(promotion_file, 1), (single_run, 0)])
def test_a_file_of_another_sweep_is_named_and_does_not_count(
    results: Path, damage: Callable[[Path], None], trial: int
) -> None:
    damage(results)
    found, named = read(results)
    assert {trial for sweep, trial in found if sweep == "s"} == {0, 1, 2, 3, 5} - {trial}
    assert [line.partition(":")[0] for line in named] == [f"s/runs/{trial:06d}.parquet"]


def test_a_renamed_sweep_that_is_resumed_keeps_all_its_files(results: Path) -> None:
    (results / "s").rename(results / "renamed")
    for trials in ([4], [6, 7, 8, 9, 10, 11]):
        store_trials(Store(results, "renamed"), trials, tasks=1)
    Store(results, "renamed").compact()
    store_trials(Store(results, "renamed"), [12], tasks=1)
    found, named = read(results)
    assert {trial for sweep, trial in found if sweep == "renamed"} == set(range(13))
    assert named == []


def test_a_sweep_without_its_search_space_is_named(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (results / "s" / "space.yaml").unlink()
    assert exit_code(lambda: query.main(["FROM best", "--results", str(results)])) == 0
    assert f"{results}/s/space.yaml: skipped: it is missing" in capsys.readouterr().err
    assert exit_code(lambda: report.main(["s", "--results", str(results)])) == 2
    assert f"{results}/s/space.yaml: missing or damaged" in capsys.readouterr().err


def test_a_file_of_runs_among_the_decisions_is_named(results: Path) -> None:
    folder = Folder.at(results / "s" / "promotions")
    folder.write("000000.parquet", (results / "s" / "runs" / "000000.parquet").read_bytes())
    assert [line.partition(":")[0] for line in read(results)[1]] == ["s/promotions/000000.parquet"]


def test_a_decision_that_is_there_twice_counts_once(results: Path) -> None:
    Store(results, "s").promote(decision())
    folder = results / "s" / "promotions"
    shutil.copy(folder / "000000.parquet", folder / "000000 (1).parquet")
    named: list[str] = []
    assert len(open_results(results, report=named.append).sql("FROM promotions").rows()) == 1
    assert [line.partition(": ")[0] for line in named] == [f"{folder}/000000 (1).parquet"]


def test_a_decision_among_the_runs_is_named(results: Path) -> None:
    Store(results, "s").promote(decision())
    shutil.copy(results / "s" / "promotions" / "000000.parquet", results / "s" / "runs" / "000003.parquet")
    for table in ("runs", "tasks", "epochs", "classes"):
        named: list[str] = []
        rows = open_results(results, "s", named.append).sql(f"SELECT DISTINCT trial FROM {table} ORDER BY 1").rows()
        assert [row["trial"] for row in rows] == [0, 1, 2, 5]
        assert [line.partition(": ")[0] for line in named] == [f"{results}/s/runs/000003.parquet"]
