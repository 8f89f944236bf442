"""Requests to a sweep as files: each has its number, none is taken twice, and what is damaged is named."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeper.store.damage import Damage
from sweeper.store.folder import Folder
from sweeper.store.results import open_results
from sweeper.store.sealed import sealed_json
from sweeper.store.steering import FOLDER, Request, Steered, Taken, answer, is_paused, read_steering, submit
from sweeper.store.stopped_file import read_stopped, write_stopped

Named = list[str]


@pytest.fixture(params=["disk", "s3"])
def sweep(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    root = Folder.at(request.getfixturevalue("s3") if request.param == "s3" else tmp_path)
    root.child("s").write("space.yaml", sealed_json({}))
    return root.child("s")


def by(action: str, **what: object) -> Request:
    return Request(action, "ada@host", **what)  # type: ignore[arg-type]


def test_two_hands_at_once_get_two_numbers(sweep: Folder) -> None:
    start, numbers = threading.Barrier(2), list[int]()

    def hand(name: str) -> None:
        own = Folder.at(sweep.reachable)
        for turn in range(5):
            start.wait()
            numbers.append(submit(own, by("note", text=f"{name}{turn}", at=1.0)))

    hands = [threading.Thread(target=hand, args=[name]) for name in "ab"]
    for one in hands:
        one.start()
    for one in hands:
        one.join()
    assert sorted(numbers) == list(range(10))
    entries = read_steering(sweep, Damage())
    assert [entry.number for entry in entries] == list(range(10))
    assert {entry.request.text for entry in entries} == {f"{name}{turn}" for name in "ab" for turn in range(5)}


def test_what_was_asked_and_answered_is_a_table(sweep: Folder) -> None:
    submit(sweep, by("add", params={"method.lambda": 0.3}, at=0.0))
    submit(sweep, by("stop", number=4))
    submit(sweep, by("trials", number=9))
    answer(sweep, 0, Taken(6, trial=5, at=60.0))
    answer(sweep, 1, Taken(6, refused="trial 4 is not in training"))
    rows = open_results(sweep.parent).sql("FROM steering ORDER BY number").rows()
    assert [(r["sweep"], r["number"], r["requested_by"], r["action"], r["state"]) for r in rows] == [
        ("s", 0, "ada@host", "add", "taken"),
        ("s", 1, "ada@host", "stop", "refused"),
        ("s", 2, "ada@host", "trials", "waiting"),
    ]
    assert [(r["trial"], r["trials"]) for r in rows] == [(5, None), (4, None), (None, 9)]
    assert rows[0]["params_json"] == '{"method.lambda": 0.3}'
    assert (rows[0]["taken_at"] - rows[0]["requested_at"]).total_seconds() == 60
    assert rows[1]["reason"] == "trial 4 is not in training"
    assert rows[2]["taken_at"] is None


def named_by(read: Callable[[Callable[[str], None]], object]) -> tuple[object, Named]:
    named: Named = []
    return read(named.append), named


@pytest.mark.parametrize(
    ("file", "left", "word"),
    [("000001.json", [0, 2], "it is not taken"), ("000001.taken.json", [0, 2], "counts as taken, without effect")],
)
def test_what_is_damaged_is_named_and_skipped(sweep: Folder, file: str, left: list[int], word: str) -> None:
    for total in (7, 8, 9):
        answer(sweep, submit(sweep, by("trials", number=total)), Taken(6))
    whole = sweep.child(FOLDER).read_bytes(file)
    for content in (whole[:-9], whole.replace(b'"a', b'"b', 1), b"[" * 100_000, b""):
        sweep.child(FOLDER).write(file, content)
        entries, named = named_by(lambda report: read_steering(sweep, Damage(report)))
        assert [entry.number for entry in entries] == left  # type: ignore[attr-defined]
        assert [file in line and word in line for line in named] == [True]
    assert submit(sweep, by("pause")) == 3, "its number is not given again"


def test_what_is_missing_is_named(sweep: Folder) -> None:
    for number in range(3):
        answer(sweep, submit(sweep, by("pause")), Taken(6))
        assert len(read_steering(sweep, Damage())) == number + 1
    sweep.child(FOLDER).delete("000001.json")
    entries, named = named_by(lambda report: read_steering(sweep, Damage(report)))
    assert [entry.number for entry in entries] == [0, 2]  # type: ignore[attr-defined]
    assert [f"{FOLDER}/000001.json: skipped: it is missing" in line for line in named] == [True]


def test_a_stopped_trial_is_known_to_workers(sweep: Folder) -> None:
    assert read_stopped(sweep, Damage()) == set()
    write_stopped(sweep, {5, 3})
    assert read_stopped(Folder.at(sweep.reachable), Damage()) == {3, 5}


# -- what the requests add up to -----------------------------------------------------------------------


def total(tmp_path: Path, stated: int, *taken: tuple[str, int | None, Taken]) -> int:
    sweep = Folder.at(tmp_path).child("s")
    for action, number, made in taken:
        answer(sweep, submit(sweep, by(action, number=number)), made)
    return Steered.of(read_steering(sweep, Damage()), stated).trials


def test_the_total_survives_an_unchanged_file_and_yields_to_a_changed_one(tmp_path: Path) -> None:
    assert total(tmp_path, 6, ("trials", 9, Taken(6)), ("add", None, Taken(6, trial=4))) == 10
    assert total(tmp_path, 6) == 10
    assert total(tmp_path, 20) == 20
    assert total(tmp_path, 20, ("add", None, Taken(20, trial=8))) == 21
    assert total(tmp_path, 20, ("trials", 3, Taken(20, refused="too few"))) == 21


def test_of_pause_and_resume_the_last_holds(tmp_path: Path) -> None:
    sweep = Folder.at(tmp_path).child("s")
    assert not is_paused(read_steering(sweep, Damage()))
    answer(sweep, submit(sweep, by("pause", at=0.0)), Taken(6))
    entries = read_steering(sweep, Damage())
    assert is_paused(entries)
    assert Steered.of(entries, 6).paused == "by ada@host, 1970-01-01 00:00:00 UTC"
    submit(sweep, by("resume"))
    assert not is_paused(read_steering(sweep, Damage())), "it will be once it is taken"
    assert Steered.of(read_steering(sweep, Damage()), 6).paused is not None
