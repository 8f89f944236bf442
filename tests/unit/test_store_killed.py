"""Real processes, killed: nothing stored is lost or doubled, and one driver holds a sweep."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from support.results import result, store_trials
from sweeper import compact
from sweeper.store.folder import Folder
from sweeper.store.lease import FILE, Holder, Lease, holder
from sweeper.store.store import Store
from trainer.errors import ConfigError, StoreError, exit_code

WRITER = """
import sys
from support.results import store_trials
from sweeper.store.store import Store
store = Store(sys.argv[1], "s")
store.tidy()
print("ready", flush=True)
for trial in range(100_000):
    if trial in store.trials():
        continue
    store_trials(store, [trial])
    print(trial, flush=True)
    if trial % 3 == 0:
        store.compact()
"""

HOLDER = """
import sys, time
from support.results import result, store_trials
from sweeper import compact
from sweeper.store.folder import Folder
from sweeper.store.lease import Lease
with Lease.acquire(Folder.at(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root / "tests"), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root, env=os.environ | {"PYTHONPATH": path})


def assert_each_once(store: Store) -> set[int]:
    """All of a trial is there, and once: two runs with two tasks each, as of one moment."""
    runs = store.read(["trial"])["trial"].to_pylist()
    tasks = store.read(["trial"], "tasks")["trial"].to_pylist()
    finished = set(runs)
    assert sorted(runs) == sorted([*finished] * 2)
    assert sorted(t for t in tasks if t in finished) == sorted([*finished] * 4)
    return finished


def test_a_killed_writer_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    draw = random.Random(0)
    damaged: list[str] = []
    store = Store(tmp_path, "s", report=damaged.append)
    told: set[int] = set()
    for _ in range(4):
        writer = start(WRITER, str(tmp_path))
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        for _ in range(8):  # while the writer writes and merges, a reader sees whole trials only
            told.add(int(writer.stdout.readline()))
            assert told <= assert_each_once(store)
        time.sleep(draw.uniform(0, 0.1))
        os.kill(writer.pid, signal.SIGKILL)
        rest = writer.stdout.read().split("\n")[:-1]
        writer.wait()
        told |= set(map(int, rest))
        finished = assert_each_once(store)
        assert told <= finished
        assert finished == set(range(len(finished)))
    assert len(told) >= 32
    store = Store(tmp_path, "s", report=damaged.append)
    store.compact()
    assert assert_each_once(store) == finished
    assert damaged == []


def test_a_second_driver_is_told_who_holds_the_sweep_until_that_one_is_killed(tmp_path: Path) -> None:
    first = start(HOLDER, str(tmp_path))
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    folder = Folder.at(tmp_path)
    with pytest.raises(
        StoreError, match=rf"this sweep is already running: host {socket.gethostname()}, pid {first.pid},"
    ):
        Lease.acquire(folder)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    with Lease.acquire(folder):
        now = holder(folder)
        assert now is not None
        assert now.pid == os.getpid()
    assert holder(folder) is None


def test_merging_by_hand_waits_for_no_driver(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path, "sweep")
    for trial in range(3):
        store.finish_trial(trial, [result(trial, 0)], attempt="a")

    def merge(sweep: str) -> int:
        return exit_code(lambda: compact.main([sweep, "--results", str(tmp_path)]))

    with Lease.acquire(store.folder):
        assert merge("sweep") == 2
        assert "this sweep is already running" in capsys.readouterr().err
    assert merge("swep") == 2
    assert capsys.readouterr().err == f"error: {tmp_path}: no sweep 'swep'; did you mean 'sweep'?\n"
    assert merge("sweep") == 0
    assert store.folder.child("runs").names() == ["000000-000002.parquet"]
    assert Store(tmp_path, "sweep").trials() == {0, 1, 2}


def elsewhere(age_s: float) -> Holder:
    """A holder on another machine, whose process nobody here can look at."""
    return Holder("token", "far", "another boot", 1, time.time() - 60, time.time() - age_s)


def write(folder: Folder, who: Holder) -> None:
    folder.write(FILE, json.dumps(asdict(who)).encode())


def test_a_silent_driver_elsewhere_is_replaced_and_a_late_one_is_not(tmp_path: Path) -> None:
    folder = Folder.at(tmp_path)
    write(folder, elsewhere(age_s=1))
    with pytest.raises(StoreError, match="host far, pid 1"):
        Lease.acquire(folder, stale_s=30)
    write(folder, elsewhere(age_s=40))
    Lease.acquire(folder, stale_s=1).release()


@pytest.mark.parametrize("age_s", [1000, -1000])
def test_a_driver_whose_clock_differs_keeps_its_sweep_while_it_lives(tmp_path: Path, age_s: float) -> None:
    folder, ended = Folder.at(tmp_path), threading.Event()
    late = elsewhere(age_s)
    write(folder, late)

    def beat() -> None:
        while not ended.wait(0.02):
            write(folder, replace(late, heartbeat=time.time() - age_s))

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        with pytest.raises(StoreError, match="host far"):
            Lease.acquire(folder, stale_s=2)
    finally:
        ended.set()
        beating.join()


def test_a_heartbeat_in_the_future_that_stands_still_locks_nobody_out(tmp_path: Path) -> None:
    folder = Folder.at(tmp_path)
    write(folder, elsewhere(age_s=-1000))
    ahead = holder(folder)
    assert ahead is not None
    assert not ahead.alive()
    assert "heartbeat 1000 s ahead of this machine's clock" in str(ahead)
    Lease.acquire(folder, stale_s=1).release()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\x00\xff", b'{"pid": "x"}'])
def test_a_damaged_lease_is_renewed_by_its_driver_and_replaced_without_one(tmp_path: Path, content: bytes) -> None:
    folder = Folder.at(tmp_path)
    with Lease.acquire(folder, stale_s=0.3):
        folder.write(FILE, content)
        with pytest.raises(StoreError, match=f"pid {os.getpid()}"):
            Lease.acquire(folder, stale_s=5)
    folder.write(FILE, content)
    assert holder(folder) is None
    Lease.acquire(folder, stale_s=0.1).release()


def test_of_many_that_find_a_dead_driver_one_takes_over(tmp_path: Path) -> None:
    folder = Folder.at(tmp_path)
    dead = start("", str(tmp_path))
    dead.wait()
    with Lease.acquire(folder):
        mine = holder(folder)
    assert mine is not None
    write(folder, replace(mine, pid=dead.pid))
    start_line = threading.Barrier(8)
    taken: list[Lease] = []
    refused: list[str] = []

    def race() -> None:
        start_line.wait()
        try:
            taken.append(Lease.acquire(folder))
        except StoreError as error:
            refused.append(str(error))

    racers = [threading.Thread(target=race) for _ in range(8)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert (len(taken), len(refused)) == (1, 7)
    taken[0].release()


def test_a_driver_that_lost_its_lease_cannot_write(tmp_path: Path) -> None:
    store = Store(tmp_path, "s")
    store.lease = Lease.acquire(store.folder, stale_s=0.2)
    store_trials(store, [0])
    deadline = time.monotonic() + 20
    refused = None
    while refused is None and time.monotonic() < deadline:
        write(Folder.at(tmp_path / "s"), elsewhere(age_s=0))
        try:
            store.suggest({1: {}})
        except StoreError as error:
            refused = str(error)
    assert refused is not None
    assert "another launch has taken over: host far" in refused
    store.lease.release()
    still = holder(store.folder)
    assert still is not None
    assert still.host == "far", "the other's lease is left alone"


def test_a_folder_that_cannot_be_written_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = Folder.at(tmp_path / "file" / "results")
    with pytest.raises(StoreError, match="cannot be read: Not a directory") as caught:
        Lease.acquire(folder)
    assert "\n" not in str(caught.value)
    with pytest.raises(StoreError, match="not a folder that can be opened"):
        Folder.at("nosuch://bucket/x")
    with pytest.raises(ConfigError, match="'a/b' cannot name a file"):
        Store(tmp_path, "a/b")
