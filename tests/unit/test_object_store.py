"""Object stores: URIs with parameters and credentials, one driver of several, requests that fail or hang."""

import contextlib
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.s3_server import BUCKET
from support.results import store_trials
from support.s3 import FaultyProxy
from support.sweeps import ROOT
from sweeper.store.bucket import Bucket
from sweeper.store.folder import Folder
from sweeper.store.lease import FILE, Lease, holder
from sweeper.store.store import Store
from sweeper.store.sweeps import sweeps
from trainer.errors import StoreError


def patient(uri: str, patience_s: float) -> Folder:
    """The folder at a URI, where requests are repeated for so long."""
    bucket, path = Bucket.of(uri, patience_s)
    return replace(Folder.at(uri), filesystem=bucket, path=path)


# -- URIs ---------------------------------------------------------------------------------------------


def test_parameters_stay_at_the_end(s3: str) -> None:
    root = Folder.at(s3)
    root.child("k", "runs").write("a", b"1")
    child = root.child("k")
    assert child.parent.names() == root.names() == []
    assert child.parent.reachable == root.reachable == s3
    assert Folder.at(child.reachable).folders() == ["runs"]
    assert Folder.at(child.argument).child("runs").read_bytes("a") == b"1"
    assert str(child) == f"{s3.partition('?')[0]}/k"


def test_credentials_of_a_uri_are_in_no_message(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    uri = s3.replace("s3://", "s3://me:hid%2Fden@")
    folder = Folder.at(uri).child("k")
    folder.write("a", b"1")
    assert Folder.at(folder.reachable).read_bytes("a") == b"1"
    shown = f"{folder} {folder!r} {folder.argument} {folder.parent}"
    with pytest.raises(StoreError) as refused:
        Folder.at(uri.replace("scheme=", "sheme="))
    assert "unknown parameter 'sheme'; allowed: endpoint_override, scheme, region; did you mean 'scheme'?" in str(
        refused.value
    )
    with pytest.raises(StoreError) as missing:
        Folder.at(uri.replace(BUCKET, "no-such-bucket")).names()
    assert "404 Not Found" in str(missing.value)
    for text in (shown, str(refused.value), str(missing.value)):
        assert "hid" not in text
        assert "\n" not in text


@pytest.mark.parametrize("uri", ["s3://", "s3:///x", "gs://b/x?endpoint_override=h", "s3://b?region", "s3://[b/x"])
def test_what_names_no_bucket_is_refused_in_one_line(uri: str) -> None:
    with pytest.raises(StoreError, match="not a folder that can be opened") as caught:
        Folder.at(uri)
    assert "\n" not in str(caught.value)


# -- one driver ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["s3", "disk"])
def test_of_two_that_start_at_one_instant_one_wins(place: str, s3: str, tmp_path: Path) -> None:
    root = Folder.at(s3 if place == "s3" else tmp_path)
    start = threading.Barrier(2)
    won: list[int] = []

    def race(attempt: int) -> None:
        folder = Folder.at(root.child(f"k{attempt}").reachable)
        start.wait()
        with contextlib.suppress(StoreError), Lease.acquire(folder):
            won.append(attempt)
            start.wait()
            return
        start.wait()

    for attempt in range(50):
        racers = [threading.Thread(target=race, args=[attempt]) for _ in range(2)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        assert holder(root.child(f"k{attempt}")) is None
    assert won == [*range(50)], "one winner each"


DRIVER = """
import sys
from support.results import store_trials
from sweeper.store.lease import Lease
from sweeper.store.status_file import Status
from sweeper.store.store import Store
from trainer.errors import exit_code
def main():
    store = Store(sys.argv[1], "s")
    with Lease.acquire(store.folder, stale_s=2) as store.lease:
        for trial in range(100_000):
            store_trials(store, [trial], seeds=1, tasks=0)
            Status(100_000, done=trial).write(store.folder)
            print(trial, flush=True)
sys.exit(exit_code(main))
"""


@pytest.mark.parametrize("place", ["s3", "disk"])
def test_a_driver_that_stands_still_longer_than_its_lease_writes_nothing_afterwards(
    place: str, s3: str, tmp_path: Path
) -> None:
    root = Folder.at(s3 if place == "s3" else tmp_path)
    folder = root.child("s")
    path = os.pathsep.join([str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, root.reachable], cwd=ROOT, env=os.environ | {"PYTHONPATH": path}, **pipes
    )
    assert driver.stdout is not None
    for _ in range(3):
        driver.stdout.readline()
    os.kill(driver.pid, signal.SIGSTOP)
    time.sleep(2.5)

    def content() -> dict[str, bytes]:
        files = [(folder.child(*below), name) for below in ((), ("runs",)) for name in folder.child(*below).names()]
        return {f"{where}/{name}": where.read_bytes(name) for where, name in files if name != FILE}

    with Lease.acquire(folder, stale_s=2) as lease:
        before = content()
        os.kill(driver.pid, signal.SIGCONT)
        _, errors = driver.communicate(timeout=60)
        assert content() == before
        lease.check()
    assert driver.returncode == 2
    assert errors.count("\n") == 1
    assert f"another launch has taken over: host {socket.gethostname()}, pid {os.getpid()}" in errors


def test_a_lease_is_as_old_as_the_request_that_renewed_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that is stopped before it has read the answer must not believe, once it goes on, that it is fresh."""
    folder, write_if, taken = Folder.at(tmp_path / "s"), Folder.write_if, threading.Event()

    def answered_late(own: Folder, *arguments: Any) -> Any:
        version = write_if(own, *arguments)
        if not taken.is_set():
            content = (tmp_path / "s" / FILE).read_text()
            token = json.loads(content)["token"]
            (tmp_path / "s" / FILE).write_text(content.replace(token, "another"))
            taken.set()
            time.sleep(1.2)
        return version

    with Lease.acquire(folder, stale_s=2) as lease:
        monkeypatch.setattr(Folder, "write_if", answered_late)
        assert taken.wait(2)
        with pytest.raises(StoreError, match="another launch has taken over"):
            lease.check()


# -- requests that fail or hang -----------------------------------------------------------------------


@pytest.fixture
def proxy(s3: str, s3_address: str) -> Iterator[tuple[FaultyProxy, str]]:
    """A proxy before the server, and the URI of an empty folder behind it."""
    proxy = FaultyProxy(s3_address)
    yield proxy, s3.replace(s3_address, proxy.address)
    proxy.close()


def test_what_fails_for_a_while_is_repeated(proxy: tuple[FaultyProxy, str]) -> None:
    faulty, uri = proxy
    draw = random.Random(0)
    kinds = ("503", "drop", "lose the answer", "cut the answer", "", "", "")
    faulty.faults = (draw.choice(kinds) for _ in itertools.count())
    store = Store(Folder.at(uri), "s")
    with Lease.acquire(store.folder) as store.lease:
        store_trials(store, range(5))
        store.compact()
        store.suggest({5: {"x": 1}})
        assert sweeps(Folder.at(uri)) == ["s"]
    faulty.faults = itertools.repeat("")
    assert {fault for _, fault in faulty.served} == set(kinds)
    again = Store(Folder.at(uri), "s")
    assert again.folder.child("runs").names() == ["000000-000004.parquet"]
    assert sorted(again.read(["trial"])["trial"].to_pylist()) == sorted([*range(5)] * 2)
    assert again.suggested() == {5: {"x": 1}}
    assert holder(again.folder) is None


@pytest.mark.parametrize("fault", ["503", "drop", "lose the answer", "hang"])
def test_what_fails_for_good_is_one_line_and_no_half_row(proxy: tuple[FaultyProxy, str], fault: str) -> None:
    faulty, uri = proxy
    store = Store(patient(uri, 0.5), "s")
    store_trials(store, [0])
    faulty.faults = itertools.repeat(fault)
    for action in (
        lambda: store_trials(store, [1]),
        store.read,
        lambda: store.folder.delete("a"),
        lambda: Lease.acquire(store.folder),
        lambda: sweeps(store.folder.parent),
    ):
        with pytest.raises(StoreError, match=f"{store.folder}|{store.folder.parent}") as caught:
            action()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 300
    faulty.faults = itertools.repeat("")
    rows = Store(Folder.at(uri), "s").read(["trial"])["trial"].to_pylist()
    assert rows == ([0, 0, 1, 1] if fault == "lose the answer" else [0, 0])


def test_a_lease_outlives_a_store_that_is_away_for_a_while(proxy: tuple[FaultyProxy, str]) -> None:
    faulty, uri = proxy
    store = Store(Folder.at(uri), "s")
    with Lease.acquire(store.folder, stale_s=1) as store.lease:
        faulty.faults = itertools.chain(["503"] * 30, itertools.repeat(""))
        time.sleep(1.5)
        store_trials(store, [0])
    assert ("PUT", "503") in faulty.served
    assert Store(Folder.at(uri), "s").trials() == {0}
