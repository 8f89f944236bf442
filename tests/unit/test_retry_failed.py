"""Failed configurations are taken back, to be trained again, and no other is touched."""

from pathlib import Path
from typing import Any

import pytest

from support.results import result, store_trials
from sweeper.store.store import Store


def stored(folder: Path, trials: int, failed: set[int]) -> Store:
    """A sweep whose configurations have finished, or failed; merged where a block is full."""
    store = Store(folder, "s")
    for trial in range(trials):
        if trial in failed:
            runs = [result(trial, seed, None, status="failed", error="no disk") for seed in (0, 1)]
            store.finish_trial(trial, runs, attempt="failed", params={"x": trial})
        else:
            store_trials(store, [trial])
    return store


def rows(store: Store, trials: set[int]) -> list[dict[str, Any]]:
    """All that is stored of these trials."""
    found = [row for row in store.read().to_pylist() if row["trial"] in trials]
    return sorted(found, key=lambda row: (row["trial"], row["seed"]))


@pytest.mark.parametrize(
    ("trials", "failed", "files"),
    [
        (3, {1}, ["000000.parquet", "000002.parquet"]),
        (32, {0, 7, 8}, ["000001-000006.parquet", "000009-000031.parquet"]),
        (32, {31}, ["000000-000030.parquet"]),
        (34, {33}, ["000000-000031.parquet", "000032.parquet"]),
        (4, {0, 1, 2, 3}, []),
        (2, set(), ["000000.parquet", "000001.parquet"]),
    ],
)
def test_only_the_failed_ones_are_taken_back(tmp_path: Path, trials: int, failed: set[int], files: list[str]) -> None:
    store = stored(tmp_path, trials, failed)
    before = rows(store, set(range(trials)) - failed)
    assert store.reopen_failed() == len(failed)
    assert store.folder.child("runs").names() == files
    for seen in (store, Store(tmp_path, "s")):
        assert seen.trials() == set(range(trials)) - failed
        assert seen.suggested() == {trial: {"x": trial} for trial in failed}
        assert rows(seen, set(range(trials))) == before
    for trial in failed:
        store_trials(store, [trial])
    store.compact()
    assert Store(tmp_path, "s").trials() == set(range(trials))
    assert Store(tmp_path, "s").read(["status"])["status"].unique().to_pylist() == ["finished"]


def test_a_driver_killed_meanwhile_leaves_all_as_it_was(tmp_path: Path) -> None:
    store = stored(tmp_path, 32, {7})
    block = tmp_path / "s" / "runs" / "000000-000031.parquet"
    content = block.read_bytes()
    store.reopen_failed()
    block.write_bytes(content)  # as if it had died before it deleted the file
    again = Store(tmp_path, "s")
    assert again.trials() == set(range(32))
    again.tidy()
    assert len(again.read(["trial"])) == 64
    assert again.suggested() == {}
    assert again.reopen_failed() == 1
    assert again.trials() == set(range(32)) - {7}
