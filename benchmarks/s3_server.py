"""An S3 server on loopback, for tests and benchmarks: moto's, which is among the packages for development."""

import contextlib
import http.client
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

BUCKET = "bucket"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "a secret of this test",
    "AWS_EC2_METADATA_DISABLED": "true",  # nothing outside this machine is asked for credentials
}

Request = dict[str, Any]
"""as WSGI has it: ``REQUEST_METHOD``, ``PATH_INFO``, ``HTTP_AUTHORIZATION`` ..."""


@contextlib.contextmanager
def s3_server(before: Callable[[Request], None] = lambda request: None) -> Iterator[str]:
    """HOST:PORT of a server with one bucket; ``before`` sees each request, and may hold it up, before it is served.

    Requests are served one at a time: on S3 a conditional write is one step, while moto looks first and writes then.
    """
    from moto.server import (  # noqa: PLC0415  (takes a second, and is no package that the project itself needs)
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server  # noqa: PLC0415

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request otherwise
    moto, one_at_a_time = DomainDispatcherApplication(create_backend_app), threading.Lock()

    def serve(request: Request, respond: Callable[..., Any]) -> Iterable[bytes]:
        before(request)
        with one_at_a_time:
            return list(moto(request, respond))

    server = make_server("127.0.0.1", 0, serve, threaded=True, request_handler=MotoRequestHandler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        host, port = server.server_address[:2]
        connection = http.client.HTTPConnection(str(host), int(port))
        connection.request(
            "PUT", f"/{BUCKET}", headers={"Authorization": "AWS4-HMAC-SHA256 Credential=key/x/us-east-1/s3"}
        )
        assert connection.getresponse().status == 200
        yield f"{host}:{port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
