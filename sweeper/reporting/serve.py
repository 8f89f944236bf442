"""The page of sweeps, served while they run: on this machine alone, to whoever has its address, and read-only."""

import secrets
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

from sweeper.reporting.html import page_html
from sweeper.reporting.page import Content, as_json
from trainer.errors import UserError

DATA = "data.json"
_HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}


class PageServer(ThreadingHTTPServer):
    """Answers GET of the page and of its newest data, below a path that nobody can guess."""

    daemon_threads = True

    def __init__(self, content: Callable[[], Content], version: Callable[[], object], port: int = 0) -> None:
        """``content``: the page's, computed again when ``version`` has another value; ``port`` 0: any that is free.

        Raises OSError where the port is taken.
        """
        self._compute, self._version = content, version
        self._lock = threading.Lock()
        self._known: tuple[object, Content] | None = None
        self.token = secrets.token_urlsafe(24)
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def address(self) -> str:
        """The page's, to open in a browser of this machine."""
        return f"http://127.0.0.1:{self.server_port}/{self.token}/"

    def content(self) -> Content:
        """The newest, computed by one request at a time."""
        with self._lock:
            now = self._version()
            if self._known is None or self._known[0] != now:
                self._known = now, self._compute()
            return self._known[1]


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    server_version, sys_version = "sweeper", ""
    timeout: ClassVar[float] = 30.0

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        token, _, name = url.path.removeprefix("/").partition("/")
        # Another site's name that resolves to this machine is no address of the page.
        own = self.headers.get("Host") in {f"{host}:{self.server.server_port}" for host in ("127.0.0.1", "localhost")}
        known = secrets.compare_digest(token.encode(), self.server.token.encode())
        if not own or not known or name not in ("", DATA):
            self.send_error(404)
            return
        try:
            content = self.server.content()
        except UserError:  # results that cannot be read at this moment: the page asks again
            self.send_error(503)
            return
        if not name:
            self._answer(200, "text/html; charset=utf-8", page_html(content, live=DATA))
        elif parse_qs(url.query).get("since") == [content["written"]]:
            self._answer(204, "application/json", "")
        else:
            self._answer(200, "application/json", as_json(content))

    def _answer(self, status: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in {**_HEADERS, "Content-Type": kind}.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: a line a request would tell nobody anything."""
