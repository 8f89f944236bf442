"""``sweeper.steer``: a request is checked before it is written, and a mistake is one line."""

import getpass
import socket
from pathlib import Path

import pytest

from support.sweeps import space_file
from sweeper import status as status_command
from sweeper import steer
from sweeper.search.space_file import load_space
from sweeper.store.damage import Damage
from sweeper.store.folder import Folder
from sweeper.store.lease import Lease
from sweeper.store.status_file import Running, Status
from sweeper.store.steering import FOLDER, read_steering
from sweeper.store.sweep_file import check_unchanged
from trainer.errors import exit_code


@pytest.fixture
def sweep(tmp_path: Path) -> Folder:
    """A sweep of which five configurations have ended and two, 5 and 11, are in training."""
    return prepared(tmp_path)


def prepared(tmp_path: Path, **changes: object) -> Folder:
    folder = Folder.at(tmp_path / "results").child("s")
    check_unchanged(load_space(space_file(tmp_path, **{"trials": 20, **changes})), folder, None, "images")
    Status(20, done=5, running=[Running(5, {"method.alpha": 0.5}), Running(11, {})]).write(folder)
    return folder


def steered(sweep: Folder, *words: str, code: int = 0) -> None:
    assert exit_code(lambda: steer.main([sweep.name, *words, "--results", str(sweep.parent)])) == code


def test_a_request_says_who_made_it_and_whether_a_driver_takes_it(
    sweep: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    steered(sweep, "add", "method.lambda=1", "method.alpha=0.5")
    assert capsys.readouterr().out == (
        "steering 0: add: no driver runs; kept for the next launch of the sweep's file\n"
    )
    with Lease.acquire(sweep):
        steered(sweep, "stop", "11")
        assert capsys.readouterr().out == "steering 1: stop: the driver takes it within seconds\n"
    steered(sweep, "trials", "128")
    steered(sweep, "note", "lambda", "looks", "flat")
    steered(sweep, "pause")
    steered(sweep, "resume")
    requests = [entry.request for entry in read_steering(sweep, Damage())]
    assert {request.by for request in requests} == {f"{getpass.getuser()}@{socket.gethostname()}"}
    assert [request.action for request in requests] == ["add", "stop", "trials", "note", "pause", "resume"]
    assert requests[0].params == {"method.lambda": 1.0, "method.alpha": 0.5}
    assert type(requests[0].params["method.lambda"]) is float, "as the sampler states it"
    assert [request.number for request in requests[1:3]] == [11, 128]
    assert requests[3].text == "lambda looks flat"


MISTAKES = {
    "unknown dimension": (
        ["add", "method.lamda=1"],
        "'method.lamda' is not a dimension",
        "did you mean 'method.lambda'",
    ),
    "out of range": (["add", "method.lambda=99"], "method.lambda: 99 lies outside", "allowed: 0.05 to 5"),
    "wrong type": (["add", "method.lambda=big"], "method.lambda: 'big' lies outside", "allowed: 0.05 to 5"),
    "no value": (["add", "method.lambda"], "method.lambda", ""),
    "not in training": (["stop", "1"], "trial 1 is not in training", "allowed: 5, 11; did you mean '11'"),
    "below what is done": (["trials", "6"], "6 configurations: 7 have ended or are in training", "allowed: 7 to"),
    "not paused": (["resume"], "not paused", ""),
}


@pytest.mark.parametrize(("words", "problem", "hint"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_nothing_is_written(
    sweep: Folder, capsys: pytest.CaptureFixture[str], words: list[str], problem: str, hint: str
) -> None:
    with Lease.acquire(sweep):
        steered(sweep, *words, code=2)
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert problem in said
    assert hint in said
    assert sweep.child(FOLDER).names() == []


def test_a_sweep_that_is_not_there_or_has_ended_is_refused(sweep: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    steered(sweep.parent.child("ss"), "pause", code=2)
    assert "no sweep 'ss'; did you mean 's'?" in capsys.readouterr().err
    steered(sweep, "stop", "5", code=2)
    assert "trial 5 is not in training; allowed: none now" in capsys.readouterr().err, "no driver runs"
    steered(sweep, "pause")
    steered(sweep, "pause", code=2)
    assert "paused already" in capsys.readouterr().err
    Status(20, state="finished", done=20).write(sweep)
    steered(sweep, "add", "method.lambda=1", code=2)
    assert "finished: nothing is left to steer; launch its file with more --trials" in capsys.readouterr().err


def test_a_grid_takes_no_other_points(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = {"search_space": {"method.alpha": [0.1, 1.0, 10.0], "method.lambda": [0.1, 1.0, 5.0]}}
    sweep = prepared(tmp_path, trials=8, search={"sampler": "GridSampler", "options": grid})
    steered(sweep, "add", "method.alpha=1", "method.lambda=1", code=2)
    assert "GridSampler covers its grid" in capsys.readouterr().err
    steered(sweep, "trials", "10", code=2)
    assert "the grid has only 9 points" in capsys.readouterr().err
    steered(sweep, "trials", "9")


def test_the_state_shows_requests_and_how_to_resume(sweep: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    steered(sweep, "note", "lambda looks flat")
    capsys.readouterr()
    Status(20, done=5, paused="by ada@host, 2026-01-01 00:00:00 UTC").write(sweep)
    with Lease.acquire(sweep):
        assert status_command.main(["s", "--results", str(sweep.parent)]) == 0
        shown = capsys.readouterr().out
        assert status_command.main(["--results", str(sweep.parent)]) == 0
    assert (
        "paused by ada@host, 2026-01-01 00:00:00 UTC: no trial is started; to resume: python -m sweeper.steer s"
        in shown
    )
    assert (
        shown.splitlines()[-1].split()[-6:] == ["note", "lambda", "looks", "flat", "waiting"][-6:] or "waiting" in shown
    )
    assert "s      paused" in capsys.readouterr().out
