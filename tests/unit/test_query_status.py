"""What ``sweeper.status`` says of sweeps that run, ended, broke off, or are not there."""

import time
from pathlib import Path

import pytest

from support.results import store_trials
from sweeper import status
from sweeper.store.folder import Folder
from sweeper.store.lease import Lease
from sweeper.store.sealed import sealed_json
from sweeper.store.status_file import Best, Running, Status
from sweeper.store.store import Store
from trainer.errors import exit_code


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for name in ("digits", "flowers"):
        Folder.at(tmp_path).child(name).write("space.yaml", sealed_json({}))
    folder = Folder.at(tmp_path)
    Status(
        10,
        done=4,
        pruned=1,
        diverged=1,
        running=[Running(4, {"method.alpha": 0.5, "net.name": "small"}, 2, 5, 81.25)],
        waiting="2 configurations wait for a GPU",
        best=Best(1, 88.5, {"method.alpha": 1.0}),
        device_s=3700,
        saved_s=65,
        eta_s=120,
    ).write(folder.child("digits"))
    return tmp_path


def said(results: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert exit_code(lambda: status.main([*arguments, "--results", str(results)])) == 0
    return capsys.readouterr().out.splitlines()


def test_a_running_sweep(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Lease.acquire(Folder.at(results).child("digits")):
        lines = said(results, capsys)
        assert " ".join(lines[1].split()) == "digits running 4/10 1 88.5 (trial 1) 2 min 0 s 1 h 1 min 1 min 5 s"
        lines = said(results, capsys, "digits")
    assert lines[0] == "digits: running"
    assert lines[1].startswith("driver: host ")
    assert lines[2] == "done: 4 of 10 configurations (1 pruned, 1 diverged)"
    assert "best: 88.5, trial 1, alpha 1" in lines
    assert "time left: 2 min 0 s" in lines
    assert "waiting: 2 configurations wait for a GPU" in lines
    assert "ledger: 0 device seconds spent; saved: none" in lines
    assert lines[-1].split() == ["4", "2/5", "81.25", "alpha", "0.5,", "net", "small"]


def test_a_sweep_whose_driver_went_away_is_interrupted(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(results, capsys, "digits")[0] == "digits: interrupted"
    assert [line.split()[:2] for line in said(results, capsys)[1:]] == [
        ["digits", "interrupted"],
        ["flowers", "unknown"],
    ]


def test_a_driver_that_is_not_known_has_a_line(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = f"driver: not known: {results}/digits/lease.json is missing or damaged"
    assert line in said(results, capsys, "digits")
    (results / "digits" / "lease.json").write_text("{")
    assert exit_code(lambda: status.main(["--results", str(results)])) == 0
    assert "digits/lease.json: skipped: it is damaged" in capsys.readouterr().err, "it may be running"
    assert line in said(results, capsys, "digits")


def test_a_deleted_status_is_named_where_results_are_stored(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (results / "digits" / "status.json").unlink()
    assert f"nothing is known: {results}/digits/status.json is missing or damaged" in said(results, capsys, "digits")
    for stored in (False, True):
        if stored:
            store_trials(Store(results, "digits"), [0])
        assert exit_code(lambda: status.main(["--results", str(results)])) == 0
        assert ("digits/status.json: skipped: it is missing" in capsys.readouterr().err) == stored


def test_a_finished_sweep(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Status(10, state="finished", done=10, started_at=time.time()).write(Folder.at(results).child("digits"))
    lines = said(results, capsys, "digits")
    assert lines[0] == "digits: finished"
    assert not any(line.startswith("time left") for line in lines)


def test_an_unknown_sweep_names_the_nearest(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(lambda: status.main(["digit", "--results", str(results)])) == 2
    assert capsys.readouterr().err == f"error: {results}: no sweep 'digit'; did you mean 'digits'?\n"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("search_spaces/digits.yaml", "no sweep 'search_spaces/digits.yaml'; did you mean 'digits'?"),
        ("mine", "'mine' is not launched yet: python -m sweeper.launch search_spaces/mine.yaml"),
        ("search_spaces/mine.yaml", "'mine' is not launched yet: python -m sweeper.launch search_spaces/mine.yaml"),
    ],
)
def test_a_file_is_no_sweep(
    results: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "search_spaces").mkdir()
    (tmp_path / "search_spaces" / "mine.yaml").write_text("")
    assert exit_code(lambda: status.main([name, "--results", str(results)])) == 2
    assert capsys.readouterr().err == f"error: {results}: {said}\n"


def test_no_sweeps_says_where_it_looked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(tmp_path, capsys) == [f"no sweeps in {tmp_path}"]
