"""A proxy before an S3 server, whose requests fail or hang as a test wants."""

import contextlib
import http.client
import itertools
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

Fault = Literal["", "drop", "lose the answer", "cut the answer", "503", "hang"]
"""what becomes of a request; "": it is served"""


class FaultyProxy:
    """Passes requests on to a server. ``faults``: what becomes of the next requests, one for each."""

    def __init__(self, server: str) -> None:
        self.faults: Iterator[Fault] = itertools.repeat("")
        self.served: list[tuple[str, Fault]] = []
        """method and fault of each request so far"""
        self._lock, self._ended = threading.Lock(), threading.Event()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                with contextlib.suppress(ConnectionError):
                    super().handle_one_request()

            def serve(self) -> None:
                body = self._body()
                fault = proxy._next(self.command)
                if fault == "hang":
                    proxy._ended.wait()
                if fault in ("drop", "hang"):
                    self.close_connection = True
                    return
                if fault == "503":
                    self._answer(503, {}, b"<Error><Code>ServiceUnavailable</Code><Message>later</Message></Error>")
                    return
                onward = http.client.HTTPConnection(server)
                headers = {k: v for k, v in self.headers.items() if k.lower() not in ("transfer-encoding", "expect")}
                onward.request(self.command, self.path, body, headers)
                answer = onward.getresponse()
                content = answer.read()
                headers = {k: v for k, v in answer.getheaders() if k.lower() not in ("transfer-encoding", "connection")}
                if fault == "lose the answer":
                    self.close_connection = True
                    return
                self._answer(answer.status, headers, content, cut=fault == "cut the answer")

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                chunks = []
                while size := int(self.rfile.readline(), 16):
                    chunks.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(chunks)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = serve

            def _answer(self, status: int, headers: dict[str, str], content: bytes, cut: bool = False) -> None:
                if self.command != "HEAD":
                    headers["Content-Length"] = str(len(content))
                self.send_response_only(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content[: len(content) // 2] if cut else content)
                self.close_connection = cut

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _next(self, method: str) -> Fault:
        with self._lock:
            fault = next(self.faults, "")
            self.served.append((method, fault))
            return fault

    def close(self) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
