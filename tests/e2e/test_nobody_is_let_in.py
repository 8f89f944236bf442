"""A local sweep: nothing that listens serves a stranger of another machine, and no secret is in any file of Ray's."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support import stranger
from support.sweeps import OWN, ROOT, files, space_file, until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("one sweep that a stranger looks at")]

SECRETS = {"AWS_SECRET_ACCESS_KEY": "s3cret/of+the/driver", "AWS_SESSION_TOKEN": "s3ssion/of+the/driver"}
HERE, THERE = "10.77.0.1", "10.77.0.2"


@dataclass(frozen=True)
class Networks:
    """Two network namespaces, joined by a cable: the sweep's and a stranger's; both None where none can be made."""

    here: str | None = None
    there: str | None = None

    def inside(self) -> list[str]:
        """Words before a command that begin it in the sweep's."""
        return [] if self.here is None else ["ip", "netns", "exec", self.here]


@pytest.fixture(scope="module")
def networks() -> Iterator[Networks]:
    here, there = (f"cil{os.getpid()}{side}" for side in "ab")
    able = not os.geteuid() and shutil.which("ip") and shutil.which("ss")
    if not able or subprocess.run(["ip", "netns", "add", here], capture_output=True, check=False).returncode:
        yield Networks()
        return
    try:
        for words in (
            f"ip netns add {there}",
            f"ip link add cable netns {here} type veth peer name cable netns {there}",
            *(f"ip -n {side} link set {device} up" for side in (here, there) for device in ("lo", "cable")),
            f"ip -n {here} address add {HERE}/24 dev cable",
            f"ip -n {there} address add {THERE}/24 dev cable",
            f"ip -n {here} route add default via {THERE}",  # Ray names a node by the address that it goes out from
        ):
            subprocess.run(words.split(), check=True)
        yield Networks(here, there)
    finally:
        for side in (here, there):
            subprocess.run(["ip", "netns", "del", side], check=False)


@dataclass(frozen=True)
class Running:
    """A sweep on a cluster of its own that has stored its first trial."""

    results: Path
    tmp: Path
    """of Ray's files; its path leaves room for the names of sockets"""


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, networks: Networks) -> Iterator[Running]:
    """One sweep that all look at. Once it is told to end, nothing of it is left."""
    folder, tmp = tmp_path_factory.mktemp("sweep"), Path(tempfile.mkdtemp(dir="/tmp"))
    tmp.chmod(0o777)  # as open as Ray's own
    arguments = [space_file(folder, trials=200), "--results", folder / "results"]
    words = [*networks.inside(), sys.executable, "-m", "sweeper.launch", *map(str, arguments)]
    environment = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "RAY_AUTH_TOKEN")}
    environment |= {**OWN, **SECRETS, "AWS_ACCESS_KEY_ID": "id", "RAY_TMPDIR": str(tmp)}
    pipe = subprocess.PIPE
    process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True)
    try:
        until(process, lambda: bool(files(folder / "results")))
        yield Running(folder / "results", tmp)
        assert process.poll() is None, "it has ended too early to be looked at"
    finally:
        process.terminate()
        process.communicate(timeout=60)
    deadline = time.monotonic() + 10
    while workers(tmp) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert workers(tmp) == []
    assert list(tmp.iterdir()) == [], "the folder goes with the cluster"
    tmp.rmdir()


def of_process(pid: int) -> dict[str, str]:
    """The environment that a process was started with."""
    pairs = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def workers(tmp: Path) -> list[int]:
    """The processes of Ray that train for the cluster whose files are in this folder.

    Ray's agents are left out: their titles overwrite a part of the environment that they were started with.
    """
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            mine = of_process(int(process.name)).get("RAY_TMPDIR") == str(tmp)
            title = (process / "cmdline").read_bytes().strip(b"\0")
            if mine and title.startswith(b"ray::") and not title.endswith(b"Agent"):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def test_no_secret_is_in_a_file(sweep: Running) -> None:
    (folder,) = sweep.tmp.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    environments = [of_process(pid) for pid in workers(sweep.tmp)]
    assert environments, "trials run"
    for environment in environments:
        assert SECRETS.items() <= environment.items(), "a trial needs them to reach the store"
    secrets = [*SECRETS.values(), environments[0]["RAY_AUTH_TOKEN"]]
    read = 0
    for file in [*folder.rglob("*"), *sweep.results.rglob("*")]:
        if file.is_file() and not file.is_symlink():
            content = file.read_bytes()
            read += 1
            assert not [secret for secret in secrets if secret.encode() in content], file
    assert read > 20


def test_nothing_that_listens_serves_a_stranger(sweep: Running, networks: Networks) -> None:
    if networks.there is None:
        pytest.skip("needs root, iproute2 and the right to make network namespaces")
    there = networks.there

    def tried(**environment: str) -> dict[str, dict[str, Any]]:
        words = ["ip", "netns", "exec", there, sys.executable, stranger.__file__, HERE, *sorted(ports)]
        own = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | environment
        ran = subprocess.run(words, env=own, capture_output=True, text=True, check=True)
        answers: dict[str, dict[str, Any]] = json.loads(ran.stdout)
        return answers

    listed = subprocess.run([*networks.inside(), "ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    ports = set(re.findall(r"^LISTEN\s+\d+\s+\d+\s+\S+:(\d+)\s", listed, re.MULTILINE))
    assert len(ports) > 4, listed
    strange = tried()
    answers = {f"{port} {what}": answer for port, found in strange.items() for what, answer in found.items()}
    served = {what: answer for what, answer in answers.items() if answer == "OK" or str(answer).startswith("2")}
    assert served == {}, listed
    assert "UNAUTHENTICATED" in answers.values()
    assert not Path("/tmp/let_in").exists()
    token = of_process(workers(sweep.tmp)[0])["RAY_AUTH_TOKEN"]
    assert "OK" in [answer for found in tried(RAY_AUTH_TOKEN=token).values() for answer in found.values()]
