"""The promises of a store, on every kind of filesystem."""

import contextlib
import itertools
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import fs

from support.results import accuracy, epoch_row, result, store_trials, task_row
from sweeper.store.cache import RunCache
from sweeper.store.damage import Damage
from sweeper.store.folder import Folder
from sweeper.store.lease import Lease, holder
from sweeper.store.results import open_results
from sweeper.store.status_file import Best, Running, Status
from sweeper.store.store import Store
from sweeper.store.sweeps import sweeps
from trainer.errors import StoreError


@pytest.fixture(params=["local", "uri", "mock", "subtree", "s3"])
def results(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    match request.param:
        case "local":
            return Folder.at(tmp_path / "results")
        case "uri":
            return Folder.at(f"file://{tmp_path}/results")
        case "mock":
            return Folder(fs._MockFileSystem(), "bucket/results", "mock://bucket/results")
        case "s3":
            return Folder.at(request.getfixturevalue("s3"))
        case _:
            return Folder(fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), "results", "sub://results")


def counts(store: Store) -> dict[str, int]:
    details = {table: store.read(["trial"], table).num_rows for table in ("tasks", "epochs", "classes")}
    return {"runs": store.read(["trial"]).num_rows, **details}


def files(store: Store) -> list[str]:
    return store.folder.child("runs").names()


def rows(store: Store) -> list[dict]:
    return store.read().sort_by([("trial", "ascending"), ("seed", "ascending")]).to_pylist()


def test_files_appear_whole_and_are_listed(results: Folder) -> None:
    assert results.names() == []
    assert results.folders() == []
    results.write("a", b"1")
    results.write("a", b"22")
    results.child("x", "y").write("b", b"3")
    assert results.names() == ["a"]
    assert results.folders() == ["x"]
    assert results.read_bytes("a") == b"22"
    results.delete("a")
    results.delete("a")
    assert results.names() == []
    with pytest.raises(FileNotFoundError):
        results.read_bytes("a")


def test_what_is_stored_is_never_overwritten(results: Folder) -> None:
    store = Store(results, "s")
    store_trials(store, range(3))
    once = rows(store)
    assert counts(store) == {"runs": 6, "tasks": 12, "epochs": 12, "classes": 6 * 30}
    for opened in (store, Store(results, "s")):
        with pytest.raises(StoreError, match="trial 1 is stored already"):
            opened.finish_trial(1, [result(1, 0, 99.0)], attempt="b")
    assert rows(store) == once
    assert Store(results, "s").trials() == {0, 1, 2}


def test_a_result_comes_back_as_it_was(results: Folder) -> None:
    store = Store(results, "s")
    runs = [
        result(4, seed, 80.0 + seed, method="gradient_reweighting", tasks=3, epochs=2, error=None if seed else "why")
        for seed in (0, 1)
    ]
    store.finish_trial(4, runs, attempt="a", pack="p", objective=80.5, params={"x": 1}, packing_saved_s=[1.5, None])
    for _ in range(2):
        found = RunCache(results).find([run.run_id for run in runs])
        assert [found[run.run_id] for run in runs] == runs
        row, other = (row for row in rows(store) if row["trial"] == 4)
        assert (row["sweep"], row["trial"], row["attempt"], row["pack"], row["objective"]) == ("s", 4, "a", "p", 80.5)
        assert (row["params_json"], row["packing_saved_s"], other["packing_saved_s"]) == ('{"x": 1}', 1.5, None)
        store_trials(store, set(range(4)) - store.trials())
        store.compact()


def test_merging_changes_no_row(results: Folder) -> None:
    store = Store(results, "s")
    store_trials(store, range(4))
    before = rows(store)
    for _ in range(2):
        store.compact()
        assert rows(store) == rows(Store(results, "s")) == before
        assert files(store) == ["000000-000003.parquet"]
    store_trials(store, range(4, 6))
    store.compact()
    assert rows(store)[:8] == before
    assert counts(store) == {"runs": 12, "tasks": 24, "epochs": 24, "classes": 12 * 30}
    assert files(store) == ["000000-000005.parquet"]


def test_trials_are_merged_as_they_come(results: Folder) -> None:
    store = Store(results, "s")
    for trial in sorted(range(70), key=lambda trial: trial * 7 % 40 + trial // 40 * 40):
        store.finish_trial(trial, [result(trial, 0, tasks=0)], attempt="a")
    blocks = ["000000-000031.parquet", "000032-000063.parquet"]
    assert files(store) == [*blocks, *(f"{trial:06d}.parquet" for trial in range(64, 70))]
    assert store.trials() == Store(results, "s").trials() == set(range(70))


def test_a_gap_is_not_merged_over(results: Folder) -> None:
    store = Store(results, "s")
    store_trials(store, [0, 1, 3, 4, 5, 9])
    before = rows(store)
    store.compact()
    assert files(store) == ["000000-000001.parquet", "000003-000005.parquet", "000009.parquet"]
    assert rows(store) == before
    store_trials(store, [2])
    store.compact()
    assert files(store) == ["000000-000005.parquet", "000009.parquet"]
    assert store.trials() == Store(results, "s").trials() == {0, 1, 2, 3, 4, 5, 9}


def test_merging_may_die_at_any_step(results: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each number of completed writes and deletions the process dies; nothing is lost or doubled."""
    store = Store(results, "s")
    store_trials(store, range(3))
    store.compact()
    store_trials(store, range(3, 12))
    expected = rows(store)
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
            Store(results, "s").compact()
        except KeyboardInterrupt:
            died += 1
            assert rows(store) == expected
            continue
        break
    assert died > 8
    assert rows(store) == expected
    assert files(store) == ["000000-000011.parquet"]


def test_a_reader_that_listed_before_a_merge_reads_again(results: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(results, "s")
    store_trials(store, range(3))
    real, merged = Folder.read_buffer, []

    def merged_before_it_reads(folder: Folder, name: str) -> pa.Buffer:
        if not merged:
            merged.append(True)
            Store(results, "s").compact()
        return real(folder, name)

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "read_buffer", merged_before_it_reads)
        assert sorted(store.read(["trial"])["trial"].to_pylist()) == [0, 0, 1, 1, 2, 2]
    assert files(store) == ["000000-000002.parquet"]


def test_a_reader_that_lists_while_a_merge_deletes_lists_again(
    results: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing may show neither the merged file, which appeared behind it, nor the files that it replaced."""
    store = Store(results, "s")
    store_trials(store, range(3))
    real, torn = Folder.names, []

    def torn_listing(folder: Folder) -> list[str]:
        names = real(folder)
        if folder.path.endswith("runs") and not torn:
            torn.append(True)
            Store(results, "s").compact()
            return [name for name in names if name in real(folder)]
        return names

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "names", torn_listing)
        assert sorted(store.read(["trial"])["trial"].to_pylist()) == [0, 0, 1, 1, 2, 2]


def test_suggestions_are_kept_until_their_trial_is_stored(results: Folder) -> None:
    store = Store(results, "s")
    assert store.suggested() == {}
    store.suggest({0: {"method.alpha": 0.5}, 1: {"method.alpha": 1.5, "net.name": "small"}, 7: {}})
    store_trials(store, [0])
    assert store.suggested() == {1: {"method.alpha": 1.5, "net.name": "small"}, 7: {}}
    assert Store(results, "s").suggested() == store.suggested()


def test_a_run_stored_anywhere_is_found(results: Folder) -> None:
    runs = {trial: [result(trial, seed, accuracy(trial, seed)) for seed in (0, 1)] for trial in range(3)}
    for sweep, trials in {"one": (0, 1), "two": (1, 2)}.items():
        for trial in trials:
            Store(results, sweep).finish_trial(trial, runs[trial], attempt="a")
    assert sweeps(results) == ["one", "two"]
    found = RunCache(results, "images").find(["r1-0", "r2-1", "none"])
    assert found == {"r1-0": runs[1][0], "r2-1": runs[2][1]}
    assert RunCache(results, "other images").find(["r1-0"]) == {}
    again = Store(results, "three")
    again.finish_trial(0, list(found.values()), attempt="from-store")
    assert set(again.read(["sweep"])["sweep"].to_pylist()) == {"three"}
    assert again.read(["task"], "tasks").num_rows == 4


def test_a_run_is_found_as_it_was_trained_though_a_later_trial_of_its_file_repeats_it(results: Folder) -> None:
    store, run = Store(results, "s"), result(0, 0)
    store.finish_trial(0, [run], attempt="a")
    store.finish_trial(1, [run.model_copy(update={"device_s": 0.0})], attempt="from-store")
    store_trials(store, [2])
    store.compact()
    assert files(store) == ["000000-000002.parquet"]
    cache = RunCache(results)
    assert cache.find([run.run_id]) == {run.run_id: run}
    assert cache.find(["r2-1"]) == {"r2-1": result(2, 1, accuracy(2, 1))}


def test_a_run_that_did_not_finish_is_not_found(results: Folder) -> None:
    store = Store(results, "s")
    statuses = ("finished", "failed", "pruned", "diverged")
    runs = [result(0, seed, status=status) for seed, status in enumerate(statuses)]
    store.finish_trial(0, runs, attempt="a")
    assert RunCache(results).find([run.run_id for run in runs]).keys() == {"r0-0"}


def test_what_finishes_later_is_found_too(results: Folder) -> None:
    own, other = Store(results, "own"), Store(results, "other")
    store_trials(own, range(3))
    store_trials(other, range(3, 6))
    cache = RunCache(results, "images", own="own", look_every_s=1000)
    assert cache.find(["r2-0", "r3-1", "r7-0"]).keys() == {"r2-0", "r3-1"}
    store_trials(own, range(7, 8))
    assert cache.find(["r7-0"]).keys() == {"r7-0"}
    own.compact()
    assert [row.task for row in cache.find(["r7-0"])["r7-0"].tasks] == [0, 1]
    store_trials(other, range(8, 9))
    assert cache.find(["r8-0"]) == {}, "others are looked at now and then"
    assert RunCache(results, "images").find(["r8-0"]).keys() == {"r8-0"}


def test_rows_of_their_own_stay_in_order_and_keep_every_value(results: Folder) -> None:
    store = Store(results, "s")
    epochs = [epoch_row(1, 0, stage="teacher", terms={"kd": float("inf")}), epoch_row(0, 1, lr=1e-300, terms={})]
    tasks = [task_row(0, phase_acc_others_pct={"nme": 12.5}, acc_by_task_pct=[0.1 + 0.2])]
    run = result(0, 0, tasks=0).model_copy(update={"epochs": epochs, "tasks": tasks})
    store.finish_trial(0, [run, result(0, 1, tasks=0)], attempt="a")
    assert RunCache(results).find(["r0-0"]) == {"r0-0": run}
    assert open_results(results).sql("SELECT stage FROM epochs").rows() == [{"stage": "teacher"}, {"stage": "train"}]


def test_one_driver_a_sweep(results: Folder) -> None:
    store = Store(results, "s")
    with Lease.acquire(store.folder, stale_s=5):
        names, lease = store.folder.names(), holder(store.folder)
        with pytest.raises(StoreError, match=r"host .*, pid \d+, since .* heartbeat \d+ s"):
            Lease.acquire(store.folder, stale_s=5)
        assert (store.folder.names(), holder(store.folder)) == (names, lease), "the loser touches nothing"
        assert holder(store.folder) is not None
    assert holder(store.folder) is None
    Lease.acquire(store.folder, stale_s=5).release()


def test_status_is_read_as_written(results: Folder) -> None:
    named: list[str] = []
    assert Status.read(results, Damage(named.append)) is None
    status = Status(8, done=2, running=[Running(3, {"x": 0.5}, 1, 4, 80.0)], best=Best(1, 90.0, {"x": 1}), eta_s=3.0)
    status.write(results)
    assert Status.read(results, Damage(named.append)) == status
    assert named == []
    results.write("status.json", b"{")
    assert Status.read(results, Damage(named.append)) is None
    assert len(named) == 1


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
