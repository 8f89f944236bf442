"""The promises of a store, on every kind of filesystem."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import fs

from sweeper import compact
from sweeper.status import Best, Running, Status
from sweeper.store import reader
from sweeper.store.cache import Finished
from sweeper.store.folder import Folder
from sweeper.store.lease import Lease, holder
from sweeper.store.results import open_results
from sweeper.store.store import Store, sweeps
from trainer.errors import StoreError


@pytest.fixture(params=["local", "uri", "mock", "subtree"])
def results(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    match request.param:
        case "local":
            return Folder.at(tmp_path / "results")
        case "uri":
            return Folder.at(f"file://{tmp_path}/results")
        case "mock":
            return Folder(fs._MockFileSystem(), "bucket/results", "mock://bucket/results")
        case _:
            return Folder(fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), "results", "sub://results")


def result(run: str, value: float, tasks: int = 2) -> dict:
    row = {"run_id": run, "config_id": run[:-1], "status": "finished", "split": "validation", "data_fingerprint": "f"}
    return {
        "row": {**row, "acc_task_mean_pct": value},
        "tasks": [{"run_id": run, "task": task} for task in range(tasks)],
        "epochs": [{"run_id": run, "task": 0, "epoch": 0, "terms": {"ce": value}}],
        "classes": [],
    }


def store_trials(store: Store, trials: range) -> None:
    for trial in trials:
        store.append("asks", [{"trial": trial, "params_json": "{}"}], f"t{trial:06d}")
        store.finish_trial(trial, "a", [result(f"t{trial}s{seed}", trial + seed) for seed in (0, 1)])


def counts(store: Store) -> dict[str, int]:
    return {table: store.read(table).num_rows for table in ("trials", "tasks", "epochs", "classes", "asks")}


def test_files_appear_whole_and_are_listed(results: Folder) -> None:
    assert results.names() == []
    assert results.folders() == []
    results.write("a", b"1")
    results.write("a", b"22")
    results.child("x", "y").write("b", b"3")
    assert results.names() == ["a"]
    assert results.folders() == ["x"]
    assert results.read_bytes("a") == b"22"
    assert results.exists("a")
    assert not results.exists("x")
    assert results.create_exclusive("c", b"first")
    assert not results.create_exclusive("c", b"second")
    assert results.read_bytes("c") == b"first"
    results.check_writable()
    results.delete("a")
    results.delete("a")
    assert results.names() == ["c"]
    with pytest.raises(FileNotFoundError):
        results.read_bytes("a")


def test_stored_again_is_stored_once(results: Folder) -> None:
    store = Store(results, "s")
    store_trials(store, range(3))
    once = counts(store)
    assert once == {"trials": 6, "tasks": 12, "epochs": 6, "classes": 0, "asks": 3}
    store_trials(store, range(3))
    assert counts(store) == once
    assert store.finished_trials() == {0, 1, 2}


def test_an_attempt_counts_when_its_trial_is_stored(results: Folder) -> None:
    store = Store(results, "s")
    store_trials(store, range(2))
    store.append("tasks", [{"trial": 2, "attempt": "dead", "run_id": "t2s0"}], "t000002-dead")
    assert store.read("tasks").num_rows == 8
    assert open_results(results).sql("FROM tasks").arrow().num_rows == 8
    store.compact()
    store.finish_trial(2, "b", [result("t2s0", 1.0)])
    assert store.read("tasks").num_rows == 10
    assert "dead" not in store.read("tasks")["attempt"].to_pylist()


def test_another_attempt_replaces_the_first(results: Folder) -> None:
    store = Store(results, "s")
    store_trials(store, range(3))
    for _ in range(2):
        store.finish_trial(1, "b", [result("t1s0", 50.0, tasks=5)])
        assert counts(store) == {"trials": 5, "tasks": 13, "epochs": 5, "classes": 0, "asks": 3}
        assert [r["attempt"] for r in store.read("tasks").to_pylist() if r["trial"] == 1] == ["b"] * 5
        store.compact()


def test_merging_changes_no_row(results: Folder) -> None:
    store = Store(results, "s")
    store_trials(store, range(4))
    before = {table: store.read(table).sort_by("trial").to_pylist() for table in ("trials", "epochs", "asks")}
    for _ in range(2):
        store.compact()
        assert {t: store.read(t).sort_by("trial").to_pylist() for t in before} == before
        assert [len(store.folder.child(table).names()) for table in before] == [1, 1, 1]
    store_trials(store, range(4, 6))
    store.compact()
    assert counts(store) == {"trials": 12, "tasks": 24, "epochs": 12, "classes": 0, "asks": 6}
    assert len(store.folder.child("trials").names()) == 1


def test_many_trials_are_merged_without_being_asked_to(results: Folder) -> None:
    store = Store(results, "s")
    for trial in range(260):
        store.finish_trial(trial, "a", [{"row": {"run_id": f"{trial}"}}])
    assert len(store.folder.child("trials").names()) == 5
    assert store.finished_trials() == set(range(260))


@pytest.mark.parametrize("large", ["_LARGE_BYTES", "_LARGE_ROWS"])
def test_a_large_merged_part_is_left_as_it_is(results: Folder, monkeypatch: pytest.MonkeyPatch, large: str) -> None:
    store = Store(results, "s")
    store_trials(store, range(3))
    store.compact()
    monkeypatch.setattr(compact, large, 1)
    (merged,) = store.folder.child("trials").names()
    store_trials(store, range(3, 6))
    store.compact()
    assert merged in store.folder.child("trials").names()
    assert len(store.folder.child("trials").names()) == 2
    assert counts(store)["tasks"] == 24
    store.finish_trial(1, "b", [result("t1s0", 50.0)])
    store.compact()
    assert merged not in store.folder.child("trials").names(), "some of its rows count no more"
    assert counts(store)["tasks"] == 22


def test_merging_may_die_at_any_step(results: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each number of completed writes and deletions the process dies; nothing is lost or doubled."""
    store = Store(results, "s")
    store_trials(store, range(3))
    store.compact()
    store_trials(store, range(3, 5))
    store.finish_trial(1, "b", [result("t1s0", 50.0), result("t1s1", 51.0)])
    expected = counts(store)
    steps = {"left": 0}

    def dies(name: str) -> None:
        real = getattr(Folder, name)

        def step(folder: Folder, *arguments: object) -> None:
            if steps["left"] == 0:
                raise KeyboardInterrupt
            steps["left"] -= 1
            real(folder, *arguments)

        monkeypatch.setattr(Folder, name, step)

    dies("write")
    dies("delete")
    died = 0
    while True:
        steps["left"] = 1  # each round gets one step further than the last
        try:
            store.compact()
        except KeyboardInterrupt:
            died += 1
            assert counts(store) == expected
            continue
        break
    assert died > 10
    assert counts(store) == expected
    assert len(store.folder.child("trials").names()) == 1


def test_a_reader_that_listed_before_a_merge_reads_again(results: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(results, "s")
    store_trials(store, range(3))
    real, merged = reader._stable_names, []

    def listed_then_merged(folder: Folder) -> list[str]:
        names = real(folder)
        if not merged:
            merged.append(True)
            store.compact()
        return names

    monkeypatch.setattr(reader, "_stable_names", listed_then_merged)
    assert store.read("trials").num_rows == 6


def test_a_run_stored_anywhere_is_found(results: Folder) -> None:
    store_trials(Store(results, "one"), range(2))
    store_trials(Store(results, "two"), range(1, 3))
    assert sweeps(results) == ["one", "two"]
    found = Finished(results, "f").find(["t1s0", "t2s1", "none"])
    assert {i: (r["sweep"], r["trial"]) for i, r in found.items()} == {"t1s0": ("one", 1), "t2s1": ("two", 2)}
    assert [row["task"] for row in found["t1s0"]["tasks"]] == [0, 1]
    assert found["t1s0"]["epochs"][0]["terms"] == {"ce": 1.0}
    assert Finished(results, "other images").find(["t1s0"]) == {}
    again = Store(results, "three")
    again.finish_trial(0, "a", list(found.values()))
    assert again.read("tasks").num_rows == 4
    assert set(again.read("tasks")["sweep"].to_pylist()) == {"three"}


def test_what_finishes_later_is_found_by_reading_it_alone(results: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    own, other = Store(results, "own"), Store(results, "other")
    store_trials(own, range(3))
    store_trials(other, range(3, 6))
    finished = Finished(results, "f", own="own", look_every_s=1000)
    assert finished.find(["t2s0", "t3s1", "t7s0"]).keys() == {"t2s0", "t3s1"}
    read: list[str] = []
    real = Folder.read_buffer

    def counted(folder: Folder, name: str) -> pa.Buffer:
        read.append(name)
        return real(folder, name)

    monkeypatch.setattr(Folder, "read_buffer", counted)
    store_trials(own, range(7, 8))
    assert finished.find(["nobody's"]) == {}
    assert read == ["part-t000007.parquet"]
    assert finished.find(["nobody's"]) == {}
    assert len(read) == 1
    own.compact()
    read.clear()
    assert [row["task"] for row in finished.find(["t7s0"])["t7s0"]["tasks"]] == [0, 1]
    store_trials(other, range(8, 9))
    assert finished.find(["t8s0"]) == {}, "others are looked at now and then"
    assert Finished(results, "f").find(["t8s0"]).keys() == {"t8s0"}


def test_a_run_is_found_as_it_was_stored_last(results: Folder) -> None:
    store = Store(results, "s")
    store_trials(store, range(3))
    finished = Finished(results)
    assert finished.find(["t1s0"])["t1s0"]["row"]["acc_task_mean_pct"] == 1.0
    for tasks in (5, 3):
        store.compact()
        store.finish_trial(1, f"b{tasks}", [result("t1s0", 50.0, tasks)])
        for way in (finished, Finished(results)):
            (again,) = way.find(["t1s0", "t1s1"]).values()
            assert again["row"]["acc_task_mean_pct"] == 50.0
            assert len(again["tasks"]) == tasks
    failed = result("t2s0", 1.0)
    failed["row"]["status"] = "failed"
    store.finish_trial(2, "c", [failed])
    assert finished.find(["t2s0"]) == Finished(results).find(["t2s0"]) == {}


def test_one_driver_a_sweep(results: Folder) -> None:
    store = Store(results, "s")
    with Lease.acquire(store.folder, stale_s=5):
        with pytest.raises(StoreError, match=r"another driver is at work: host .*, pid \d+, since .* heartbeat \d+ s"):
            Lease.acquire(store.folder, stale_s=5)
        assert holder(store.folder) is not None
    assert holder(store.folder) is None
    Lease.acquire(store.folder, stale_s=5).release()


def test_status_is_read_as_written(results: Folder) -> None:
    assert Status.read(results) is None
    status = Status(8, done=2, running=[Running(3, {"x": 0.5}, 1, 4, 80.0)], best=Best(1, 90.0, {"x": 1}), eta_s=3.0)
    status.write(results)
    assert Status.read(results) == status
    results.write("status.json", b"{")
    assert Status.read(results) is None


def test_a_folder_that_others_write_in_is_removed_without_a_word(results: Folder) -> None:
    scratch = results.child("scratch")
    scratch.write("a", b"")
    stop = threading.Event()

    def write_on() -> None:
        for number in itertools.count():
            with contextlib.suppress(OSError, StoreError):
                scratch.write(f"b{number}", b"")
            if stop.wait(0.001):
                return

    writer = threading.Thread(target=write_on)
    writer.start()
    time.sleep(0.05)
    try:
        scratch.remove()
    finally:
        stop.set()
        writer.join()
    scratch.remove()
    assert scratch.names() == []
