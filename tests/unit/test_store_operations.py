"""A process that dies at each file operation in turn, storing and merging: nothing is lost, nothing is there twice."""

import builtins
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.results import store_trials
from sweeper.store.folder import Folder
from sweeper.store.store import Store

DIED = 9
SMALL: dict[str, Any] = {"seeds": 1, "tasks": 1, "classes": False}


def dies_at(operation: int, action: Callable[[], object]) -> bool:
    """Run ``action`` in a child that exits just before its n-th open, write, sync, rename or deletion.

    Returns whether it died; it did not if there are fewer operations.
    """
    child = os.fork()
    if not child:
        left = [operation]

        def counted(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **options: Any) -> Any:
                left[0] -= 1
                if not left[0]:
                    os._exit(DIED)
                return real(*arguments, **options)

            return call

        try:
            for name in ("open", "write", "fsync", "replace", "rename", "link", "unlink", "remove"):
                setattr(os, name, counted(getattr(os, name)))
            builtins.open = counted(builtins.open)
            deleted = Folder.delete  # Arrow deletes without Python
            Folder.delete = counted(deleted)  # type: ignore[method-assign]
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, DIED)
    return code == DIED


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
