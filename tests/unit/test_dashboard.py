"""The warning about an unauthenticated dashboard, against real HTTP servers that answer as Ray's does."""

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sweeper.execution.dashboard import unauthenticated_warning

VERSION = b'{"version": "4", "ray_version": "2.60.0", "session_name": "s"}'


@contextmanager
def dashboard(address: str, *, token: str | None = None, body: bytes = VERSION) -> Iterator[int]:
    """The port of a server that answers /api/version as a Ray dashboard with or without a token does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = token is None or self.headers.get("Authorization") == f"Bearer {token}"
            self.send_response((200 if self.path == "/api/version" else 404) if allowed else 401)
            self.end_headers()
            self.wfile.write(body if allowed else b"Unauthorized")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer((address, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_dashboard_on_loopback_gives_no_warning() -> None:
    with dashboard("127.0.0.1") as port:
        assert unauthenticated_warning(f"127.0.0.1:{port}") is None
        assert unauthenticated_warning(f"http://localhost:{port}") is None


@pytest.mark.parametrize("form", ["{}:{}", "http://{}:{}", "http://{}:{}/"])
def test_an_open_dashboard_on_all_addresses_gives_a_warning_of_one_line(form: str) -> None:
    with dashboard("0.0.0.0") as port:
        warning = unauthenticated_warning(form.format("0.0.0.0", port))
    assert warning is not None
    assert "\n" not in warning
    assert f"0.0.0.0:{port}" in warning
    assert "RAY_AUTH_MODE=token" in warning


def test_one_that_requires_a_token_gives_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    # A client of the cluster has the token; what counts is the answer to a stranger.
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    with dashboard("0.0.0.0", token="secret") as port:
        assert unauthenticated_warning(f"0.0.0.0:{port}") is None


def test_another_web_server_gives_no_warning() -> None:
    with dashboard("0.0.0.0", body=b"<html>hello</html>") as port:
        assert unauthenticated_warning(f"0.0.0.0:{port}") is None


@pytest.mark.parametrize("url", [None, "", "0.0.0.0:1", "http://", "http://0.0.0.0:99999", "no such host:1", "://"])
def test_no_dashboard_no_warning(url: str | None) -> None:
    assert unauthenticated_warning(url) is None


def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with dashboard("127.0.0.1") as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy}")
        monkeypatch.delenv("no_proxy", raising=False)
        assert unauthenticated_warning("0.0.0.0:1") is None


IN_A_NETWORK_OF_ITS_OWN = f"""
import importlib.util, subprocess, sys
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["ip", "address", "add", "10.77.0.1/32", "dev", "lo"], check=True)
spec = importlib.util.spec_from_file_location("this", {__file__!r})
this = importlib.util.module_from_spec(spec)
spec.loader.exec_module(this)
with this.dashboard("10.77.0.1") as port:
    print(this.unauthenticated_warning(f"10.77.0.1:{{port}}"))
with this.dashboard("10.77.0.1", token="t") as port:
    print(this.unauthenticated_warning(f"10.77.0.1:{{port}}"))
"""


def test_on_an_address_of_a_network() -> None:
    unshare = ["unshare", "--user", "--map-root-user", "--net"]
    if not shutil.which("ip") or subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs iproute2 and unprivileged network namespaces")
    ran = subprocess.run(
        [*unshare, sys.executable, "-c", IN_A_NETWORK_OF_ITS_OWN], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    opened, guarded = ran.stdout.splitlines()
    assert "10.77.0.1:" in opened
    assert guarded == "None"
