"""``notify`` of a search-space file: what is told, and that nothing that is told can harm a sweep."""

import json
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from support.results import result
from support.sweeps import space_file
from sweeper import launch
from sweeper.execution.notifier import Notifier, sender
from sweeper.execution.progress import Progress
from sweeper.search.outcome import Outcome
from sweeper.search.space_file import load_space
from sweeper.search.study import Suggestion
from sweeper.store.folder import Folder
from trainer.errors import ConfigError, exit_code

# -- what is told ----------------------------------------------------------------------------------------


def test_what_ends_and_what_is_best_is_told(tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    (tmp_path / "s").mkdir()
    folder = Folder.at(tmp_path).child("s")
    progress = Progress(folder, 4, 2, "acc_task_mean_pct", lambda line: None, lambda event: told.append(dict(event)))
    progress.begin()
    best = None
    for number, (status, value) in enumerate([("finished", 50.0), ("diverged", None), ("finished", 40.0)]):
        run = result(number, 0, value, status=status, error="not finite" if status == "diverged" else None)
        params = {"method.alpha": float(number)}
        best = best or (number, params, 50.0)
        progress.ended(Suggestion(number, params, ()), Outcome(status, value, [run]), best)
    progress.end("stopped")
    assert [(event["event"], event.get("trial")) for event in told] == [
        *(("finished", 0), ("new best", 0), ("failed", 1), ("finished", 2)),
        ("ended", None),
    ]
    assert told[0] | {"text": ""} == {
        "event": "finished",
        "sweep": "s",
        "trial": 0,
        "params": {"method.alpha": 0.0},
        "status": "finished",
        "metric": "acc_task_mean_pct",
        "value": 50.0,
        "error": None,
        "best_trial": 0,
        "best_value": 50.0,
        "done": 1,
        "total": 4,
        "text": "",
    }
    assert told[2]["error"] == "not finite"
    assert told[0]["text"] == "s: finished: trial 0: 50.00"
    assert (told[4]["state"], told[4]["done"]) == ("stopped", 3)
    json.dumps(told)


def test_a_launch_that_trains_nothing_has_nothing_to_tell(tmp_path: Path) -> None:
    told: list[Any] = []
    (tmp_path / "s").mkdir()
    Progress(Folder.at(tmp_path).child("s"), 0, 2, "acc_task_mean_pct", print, told.append).end("finished")
    assert told == []


# -- how it is told --------------------------------------------------------------------------------------


def test_events_arrive_in_their_order_and_in_another_thread() -> None:
    told: list[tuple[int, bool]] = []
    lines: list[str] = []
    notifier = Notifier(lambda e: told.append((e["n"], threading.current_thread() is main)), lines.append)
    main = threading.current_thread()
    for number in range(20):
        notifier.notify({"n": number})
    notifier.close()
    assert told == [(number, False) for number in range(20)]
    assert lines == []


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise ValueError


def test_an_error_is_a_line_and_the_next_event_is_told() -> None:
    told: list[int] = []
    lines: list[str] = []

    def send(event: dict[str, Any]) -> None:
        told.append(event["n"])
        if event["n"] == 0:
            raise ValueError("two\nlines")
        if event["n"] == 1:
            sys.exit(3)
        if event["n"] == 2:
            raise Unspeakable
        event.clear()

    notifier = Notifier(send, lines.append)
    for number in range(4):
        notifier.notify({"n": number})
    notifier.close()
    assert told == [0, 1, 2, 3]
    assert lines == [f"warning: notify: {what}" for what in ("ValueError: two lines", "SystemExit: 3", "Unspeakable")]


def test_a_call_that_hangs_is_left_behind() -> None:
    lines: list[str] = []
    called: list[int] = []
    forever = threading.Event()

    def send(event: dict[str, Any]) -> None:
        called.append(event["n"])
        forever.wait()

    notifier = Notifier(send, lines.append, limit_s=0.05)
    started = time.monotonic()
    for number in range(6):
        notifier.notify({"n": number})
    assert time.monotonic() - started < 0.04, "the sweep waits"
    time.sleep(0.4)
    notifier.close()
    forever.set()
    assert called == [0, 1, 2]
    left = "warning: notify: a call takes longer than 0.05 s and is left behind"
    assert lines == [left, left, f"{left}; nothing more is told"]


# -- webhooks --------------------------------------------------------------------------------------------


@pytest.fixture
def hook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The URL of a server on this machine, and what was sent to it; below ``/no`` it refuses."""
    received: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(403 if self.path.startswith("/no") else 200)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()
    server.server_close()


def test_a_webhook_gets_json(hook: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch) -> None:
    url, received = hook
    monkeypatch.setenv("HOOK", f"{url}/secret")
    sender("${HOOK}", "s.yaml")({"event": "finished", "value": 1.5})
    assert received == [{"event": "finished", "value": 1.5}]


def test_proxies_of_an_earlier_request_are_forgotten(
    hook: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, received = hook
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    urllib.request.install_opener(urllib.request.build_opener())
    monkeypatch.delenv("http_proxy")
    try:
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(url)
        sender(url, "s.yaml")({"event": "finished"})
    finally:
        urllib.request.install_opener(urllib.request.build_opener())
    assert received == [{"event": "finished"}]


def test_a_webhook_that_refuses_shows_no_secret(hook: tuple[str, list[dict[str, Any]]]) -> None:
    with pytest.raises(ConnectionError, match=r"^127\.0\.0\.1 answers 403 Forbidden$"):
        sender(f"{hook[0]}/no/secret", "s.yaml")({})
    with pytest.raises(ConnectionError, match=r"^127\.0\.0\.1 cannot be reached: ") as error:
        sender("http://127.0.0.1:9/secret", "s.yaml")({})
    assert "secret" not in str(error.value)


# -- what is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("notify", "problem"),
    [
        ("no_such_module:on_event", "no_such_module cannot be imported: ModuleNotFoundError"),
        ("hooks:on_evnt", "hooks has no function on_evnt"),
        ("hooks:VALUE", "hooks has no function VALUE"),
        ("hooks:nothing", "hooks:nothing does not take one argument, the event"),
        ("broken_hooks:on_event", "broken_hooks cannot be imported: ZeroDivisionError"),
        ("hooks", "'hooks' names no function"),
        ("https://", "the URL names no host"),
        ("${NO_SUCH_HOOK}", "the environment variable NO_SUCH_HOOK is not set"),
    ],
)
def test_a_bad_one_starts_nothing(
    notify: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "hooks", raising=False)
    (tmp_path / "hooks.py").write_text("VALUE = 3\ndef on_event(event): pass\ndef nothing(): pass\n")
    (tmp_path / "broken_hooks.py").write_text("1 / 0\n")
    file, results = str(space_file(tmp_path, notify=notify)), str(tmp_path / "results")
    assert exit_code(lambda: launch.main([file, "--results", results, "--set", "resources.cpu=1"])) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {file}: notify: {problem}")
    assert line.endswith("allowed: module:function, or https://... of a webhook")
    assert not (tmp_path / "results").exists()


def test_it_may_change_from_launch_to_launch(tmp_path: Path) -> None:
    spaces = [load_space(space_file(tmp_path, notify=notify)) for notify in (None, "hooks:on_event")]
    assert spaces[0].identity() == spaces[1].identity()


def test_a_function_beside_the_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "hooks_of_mine.py").write_text("told = []\ndef on_event(event): told.append(event)\n")
    sender("hooks_of_mine:on_event", str(tmp_path / "s.yaml"))({"event": "finished"})
    assert sys.modules["hooks_of_mine"].told == [{"event": "finished"}]
    with pytest.raises(ConfigError):
        sender("hooks_of_mine:told", str(tmp_path / "s.yaml"))
