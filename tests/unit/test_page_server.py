"""The served page: loopback only, for whoever has its address, read-only, and newer data when there are some."""

import json
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import pytest

from sweeper.reporting.serve import PageServer

SWEEP: dict[str, Any] = {"name": "<s>"}


class Source:
    """Content that changes when it is told to."""

    def __init__(self) -> None:
        self.version, self.computed = 0, 0

    def content(self) -> dict[str, Any]:
        self.computed += 1
        return {"written": f"at {self.version}", "sweeps": [SWEEP]}


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def server(source: Source) -> Iterator[PageServer]:
    with PageServer(source.content, lambda: source.version) as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def ask(server: PageServer, path: str, method: str = "GET", **headers: str) -> HTTPResponse:
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.request(method, path, headers=headers)
    return connection.getresponse()


def test_only_this_machine_and_only_a_random_address(server: PageServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert len(server.token) >= 32
    assert server.address == f"http://127.0.0.1:{server.server_port}/{server.token}/"


@pytest.mark.parametrize("name", ["", "data.json"])
def test_a_wrong_token_is_refused(server: PageServer, source: Source, name: str) -> None:
    for token in ("", "x", server.token[:-1], f"{server.token}x", "%C3%A9"):
        assert ask(server, f"/{token}/{name}").status == 404
    assert source.computed == 0


def test_another_sites_name_for_this_machine_is_refused(server: PageServer) -> None:
    path = f"/{server.token}/data.json"
    assert ask(server, path, Host="elsewhere.example").status == 404
    assert ask(server, path, Host=f"localhost:{server.server_port}").status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_it_is_read_only(server: PageServer, method: str) -> None:
    assert ask(server, f"/{server.token}/data.json", method).status == 501


def test_data_are_computed_when_they_change_and_sent_when_they_are_newer(server: PageServer, source: Source) -> None:
    path = f"/{server.token}/data.json"
    assert json.load(ask(server, path)) == {"written": "at 0", "sweeps": [SWEEP]}
    assert ask(server, f"{path}?since=at%200").status == 204
    assert source.computed == 1
    source.version = 1
    assert json.load(ask(server, f"{path}?since=at%200"))["written"] == "at 1"
    assert source.computed == 2


def test_the_page_is_not_kept_and_nothing_else_is_there(server: PageServer) -> None:
    pytest.importorskip("plotly")
    answer = ask(server, f"/{server.token}/")
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert 'data-live="data.json"' in answer.read().decode()
    assert ask(server, f"/{server.token}/../../etc/passwd").status == 404
