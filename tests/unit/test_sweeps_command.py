"""``sweeper.sweeps``: sweeps are listed, renamed, deleted and annotated; one that runs is left alone."""

import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.results import store_trials
from support.sweeps import space_file
from sweeper import launch, sweeps
from sweeper.search.space_file import load_space
from sweeper.store.folder import Folder
from sweeper.store.lease import Lease, holder
from sweeper.store.results import open_results
from sweeper.store.status_file import Status
from sweeper.store.store import Store
from sweeper.store.sweep_file import check_unchanged, read_space
from trainer.errors import exit_code


@pytest.fixture(params=["disk", "s3"])
def results(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """The sweeps s and s-promotion, and another one."""
    folder = Folder.at(tmp_path / "results" if request.param == "disk" else request.getfixturevalue("s3"))
    for name in ("s", "s-promotion", "other"):
        store = Store(folder, name)
        if name != "s-promotion":
            check_unchanged(load_space(space_file(tmp_path, name=name)), store.folder, None, "images")
        store.suggest({})
        store_trials(store, range(2), tasks=1, classes=False)
        Status(6, state="stopped", done=2).write(store.folder)
    return folder


def run(results: Folder, *arguments: str, code: int = 0) -> None:
    assert exit_code(lambda: sweeps.main([*arguments, "--results", results.reachable])) == code


def runs(results: Folder) -> dict[str, int]:
    rows = open_results(results).sql("SELECT sweep, count(*) AS n FROM runs GROUP BY sweep").rows()
    return {row["sweep"]: row["n"] for row in rows}


def test_a_sweep_is_renamed_with_its_promotion(results: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    run(results, "rename", "s", "new name")
    assert "to resume it, launch its file with --name" in capsys.readouterr().out
    assert runs(results) == {"new name": 4, "new name-promotion": 4, "other": 4}
    folder = results.child("new name")
    assert read_space(folder).name == "new name"
    assert holder(folder) is None
    assert results.folders() == ["new name", "new name-promotion", "other"]
    with Lease.acquire(folder):
        pass


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("s", "other"), "other: exists already; choose another name, or delete it"),
        (("s", "a/b"), "'a/b' cannot name a file"),
        (("s", "x-promotion"), "is what promotions store their runs in"),
        (("t", "x"), "no sweep 't'"),
    ],
)
def test_a_rename_that_cannot_be_done_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, str], said: str
) -> None:
    results = Folder.at(tmp_path)
    for name in ("s", "other"):
        store_trials(Store(results, name), range(1), tasks=1, classes=False)
    run(results, "rename", *arguments, code=2)
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert results.folders() == ["other", "s"]


def test_a_sweep_is_deleted_with_its_promotion(results: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    run(results, "delete", "s", code=2)
    assert "deleting s (2 configurations) and s-promotion (2 configurations) cannot be undone; pass --yes" in (
        capsys.readouterr().err
    )
    assert runs(results) == {"s": 4, "s-promotion": 4, "other": 4}
    run(results, "delete", "s", "--yes")
    assert runs(results) == {"other": 4}
    assert results.folders() == ["other"]
    if results.local:
        assert [path.name for path in results.local.iterdir() if path.name.startswith(".s")] == []


@pytest.mark.parametrize("words", [("rename", "s", "new"), ("delete", "s", "--yes")])
def test_a_sweep_that_runs_is_left_alone(
    results: Folder, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    for running in ("s", "s-promotion"):
        with Lease.acquire(results.child(running)) as lease:
            driver = holder(results.child(running))
            run(results, *words, code=2)
            assert f"{running}: this sweep is already running: host " in capsys.readouterr().err
            assert holder(results.child(running)) == driver
            lease.check()
    assert runs(results) == {"s": 4, "s-promotion": 4, "other": 4}


def test_a_dead_driver_is_no_hindrance(tmp_path: Path) -> None:
    results = Folder.at(tmp_path)
    store_trials(Store(results, "s"), range(1), tasks=1, classes=False)
    folder = results.child("s")
    with Lease.acquire(folder):
        driver = holder(folder)
    assert driver is not None
    folder.write("lease.json", json.dumps(asdict(replace(driver, pid=2**22 - 1))).encode())
    run(results, "rename", "s", "t")
    assert runs(results) == {"t": 2}


def test_notes_are_kept_and_listed(results: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    run(results, "note", "s", "lower", "learning rate")
    capsys.readouterr()
    run(results, "note", "s")
    assert capsys.readouterr().out == "lower learning rate\n"
    run(results, "list")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[:3] for line in lines[1:]] == [[n, "stopped", "2/6"] for n in ("other", "s", "s-promotion")]
    assert lines[2][-3:] == ["lower", "learning", "rate"]
    run(results, "note", "s", "")
    run(results, "note", "s")
    assert capsys.readouterr().out == "no note\n"


# -- a name that nothing was stored under -------------------------------------------------------------


def mended(file: Path, **changes: Any) -> None:
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | changes))


def test_a_refused_launch_does_not_keep_the_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, results = space_file(tmp_path), Folder.at(tmp_path / "results")
    store = Store(results, "s")
    check_unchanged(load_space(file), store.folder, None, "images")
    store.suggest({0: {"method.alpha": 1.0}})
    Status(6, state="stopped").write(store.folder)
    mended(file, seeds=[5, 6])
    line = check_unchanged(load_space(file), store.folder, None, "other images")
    assert line == "sweep s starts anew: nothing was stored with the file as it was before"
    assert read_space(store.folder).spec.seeds == (5, 6)
    assert Store(results, "s").suggested() == {}
    assert check_unchanged(load_space(file), store.folder, None, "other images") is None
    store_trials(store, range(1), tasks=1, classes=False)
    mended(file, seeds=[7])
    assert exit_code(lambda: launch.main([str(file), "--results", str(results)])) == 2
    assert "search space changed since sweep s started: seeds was [5, 6], is [7]" in capsys.readouterr().err


def test_lost_results_keep_the_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, results = space_file(tmp_path), Folder.at(tmp_path / "results")
    folder = results.child("s")
    check_unchanged(load_space(file), folder, None, "images")
    Status(6, done=1, started_at=time.time()).write(folder)
    mended(file, seeds=[5, 6])
    assert exit_code(lambda: launch.main([str(file), "--results", str(results)])) == 2
    assert "search space changed since sweep s started" in capsys.readouterr().err
