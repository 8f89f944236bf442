"""A process that dies at each file operation in turn, storing and merging: nothing is lost, nothing is there twice."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.kills import dies_at
from support.results import store_trials
from sweeper.store.store import Store

SMALL: dict[str, Any] = {"seeds": 1, "tasks": 1, "classes": False}


def rows(folder: Path) -> dict[str | None, list[dict[str, Any]]]:
    named: list[str] = []
    store = Store(folder, "s", report=named.append)
    read = {detail: store.read(detail=detail).to_pylist() for detail in (None, "tasks")}
    assert named == []
    return read


def of_trials(read: dict[str | None, list[dict[str, Any]]], trials: set[int]) -> dict[str | None, list[dict[str, Any]]]:
    return {detail: [row for row in found if row["trial"] in trials] for detail, found in read.items()}


def store_next(folder: Path, trial: int) -> None:
    store_trials(Store(folder, "s"), [trial], **SMALL)


def merge(folder: Path) -> None:
    Store(folder, "s").compact()


@pytest.mark.parametrize(
    ("before", "action"),
    [
        pytest.param([0, 1], lambda folder: store_next(folder, 2), id="storing"),
        pytest.param(
            range(31), lambda folder: store_next(folder, 31), id="storing the last of a block", marks=pytest.mark.slow
        ),
        pytest.param([0, 1, 2, 4, 5], merge, id="merging"),
    ],
)
def test_a_process_that_dies_at_any_operation(
    tmp_path: Path, before: list[int], action: Callable[[Path], object]
) -> None:
    store_trials(Store(tmp_path / "before", "s"), before, **SMALL)
    shutil.copytree(tmp_path / "before", tmp_path / "after")
    action(tmp_path / "after")
    expected, ended = rows(tmp_path / "after"), Store(tmp_path / "after", "s").trials()
    files = sorted(file.name for file in (tmp_path / "after" / "s" / "runs").iterdir())
    operation, died = 0, True
    while died:
        operation += 1
        folder = tmp_path / f"{operation}"
        shutil.copytree(tmp_path / "before", folder)
        died = dies_at(operation, lambda folder=folder: action(folder))
        there = Store(folder, "s").trials()
        assert set(before) <= there <= ended
        assert rows(folder) == of_trials(expected, there), "as a reader sees it before anyone has tidied"
        store = Store(folder, "s")
        store.tidy()
        runs = folder / "s" / "runs"
        for file in runs.iterdir():
            assert file.name.endswith(".parquet")
        for trial in ended - there:
            store_trials(store, [trial], **SMALL)
        if action is merge:
            store.compact()
        assert sorted(file.name for file in runs.iterdir()) == files
        assert rows(folder) == expected
        shutil.rmtree(folder)
    assert operation > 5, "operations were counted"
