"""Connecting to clusters: errors in one line, and nobody else is let in."""

import os
import pty
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sweeper.execution.cluster import ClusterError, connected

ROOT = Path(__file__).parents[2]


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_where_nothing_listens_is_told_at_once(form: str) -> None:
    address = form.format(closed_port())
    started = time.monotonic()
    with pytest.raises(ClusterError, match=f"no Ray cluster at {address}: Connection refused"), connected(address):
        pass
    assert time.monotonic() - started < 5


def test_the_environments_address_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{closed_port()}")
    with pytest.raises(ClusterError, match="no Ray cluster at 127"), connected(None):
        pass


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1", "127.0.0.1:x", "http://"])
def test_what_is_no_address_is_told_apart(address: str) -> None:
    with pytest.raises(ClusterError, match=f"not the address of a Ray cluster: '{address}'"), connected(address):
        pass


def test_ray_that_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", "/dev/null/nowhere")
    with pytest.raises(ClusterError, match=r"Ray does not start on this machine: .*/dev/null"), connected(None):
        pytest.fail("it started")


ENTER = "from ray._raylet import GcsClient; print(GcsClient(address={!r}).get_all_node_info())"


@pytest.mark.slow
def test_a_cluster_of_ones_own_has_a_token_of_its_own_and_lets_nobody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "given")
    with connected(None) as address:
        own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH_")}
        wrong = own | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "given"}
        words = [sys.executable, "-c", ENTER.format(address)]
        for theirs in (own, wrong):
            refused = subprocess.run(words, env=theirs, capture_output=True, text=True, check=False)
            assert refused.returncode
            assert "AuthenticationError" in refused.stderr
        let_in = subprocess.run(words, env=os.environ, capture_output=True, text=True, check=False)
        assert let_in.returncode == 0, let_in.stderr
        first = os.environ["RAY_AUTH_TOKEN"]
    with connected(None):
        assert os.environ["RAY_AUTH_TOKEN"] not in ("given", first)


def test_a_terminal_gets_no_codes_when_a_command_that_has_used_ray_ends() -> None:
    code = "from sweeper.execution.cluster import keep_the_terminal; "
    code += "import ray.autoscaler._private.cli_logger; keep_the_terminal(); print('done')"
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=theirs, stderr=theirs, check=True, timeout=60)
    os.close(theirs)
    assert os.read(ours, 1000) == b"done\r\n"
    os.close(ours)
