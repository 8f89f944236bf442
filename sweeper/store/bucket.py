"""A bucket of S3, Google Cloud Storage or Azure: one request writes a file, and may state a condition.

Uses obstore, because pyarrow has no conditional put, needs three requests to write a file, and waits for an answer
without limit.
"""

import contextlib
import os
import re
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, GenericError, PermissionDeniedError, PreconditionError
from obstore.store import ObjectStore, S3Store, from_url

from trainer.errors import StoreError, nearest

SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss")
_PARAMETERS = ("endpoint_override", "scheme", "region")
_ANSWER_S = 15
"""a request that brings no byte for so long is repeated"""
_PATIENCE_S = 60.0
_RETRY_S = 5
"""how long obstore repeats a request by itself: in between, a lost lease is noticed"""
_PAUSE_S = 0.2
_FAILED = {"429", "500", "502", "503", "504"}
"""of HTTP: it may succeed later"""

T = TypeVar("T")

Version = Mapping[str, Any]
"""what a store calls the content that a file had"""


class ChangedError(StoreError):
    """A file is not, or no longer, what a write was to replace."""


class Bucket:
    """The files of a bucket. Every method raises OSError, whose text is one line, for a store that fails or refuses."""

    def __init__(self, store: ObjectStore, patience_s: float = _PATIENCE_S) -> None:
        self._store, self._patience_s = store, patience_s

    @classmethod
    def of(cls, uri: str, patience_s: float = _PATIENCE_S) -> tuple[Self, str]:
        """The bucket of a URI, and the path in it. ``patience_s``: how long a request that fails is repeated.

        Parameters of an S3 URI: ``endpoint_override=HOST:PORT``, ``scheme``, ``region``. Credentials are those of the
        environment, unless the URI has ``access_key:secret_key@``. Raises ValueError, in words, for other parameters,
        and for a URI that names no bucket.
        """
        url = urlsplit(uri)
        parameters = dict(parse_qsl(url.query, keep_blank_values=True, strict_parsing=bool(url.query)))
        answer = timedelta(seconds=min(_ANSWER_S, patience_s))
        options: dict[str, Any] = {
            "client_options": {"allow_http": True, "read_timeout": answer, "timeout": "1h"},
            "retry_config": {"retry_timeout": timedelta(seconds=min(_RETRY_S, patience_s))},
        }
        if not url.hostname:
            raise ValueError("it names no bucket")
        if url.scheme == "s3":
            store: ObjectStore = S3Store(url.netloc.rpartition("@")[2], **_s3_options(url, parameters), **options)
            return cls(store, patience_s), url.path.strip("/")
        if parameters:
            raise ValueError("parameters are for s3:// alone; others are configured by environment variables")
        scheme = "gs" if url.scheme == "gcs" else url.scheme
        return cls(from_url(f"{scheme}://{url.netloc}", **options), patience_s), url.path.strip("/")

    def entries(self, path: str) -> tuple[list[str], list[str]]:
        """Names of the files in a folder, and of the folders."""
        found = self._repeat(lambda: obstore.list_with_delimiter(self._store, path))
        paths = [entry["path"] for entry in found["objects"]], found["common_prefixes"]
        files, folders = ([name.rpartition("/")[2] for name in names] for names in paths)
        return files, folders

    def read(self, path: str) -> tuple[memoryview, Version]:
        """The content of a file, and its version. Raises FileNotFoundError."""

        def request() -> tuple[memoryview, Version]:
            found = obstore.get(self._store, path)
            return memoryview(found.bytes()), _version(found.meta)

        return self._repeat(request)

    def write(self, path: str, content: bytes, check: Callable[[], None] | None = None) -> None:
        """Write a file, whole, in place of any that is there. ``check`` is called before each try, and may raise."""
        self._repeat(lambda: obstore.put(self._store, path, content), check)

    def write_if(self, path: str, content: bytes, version: Version | None) -> Version:
        """Write a file if it still has this version; None: if there is none. Returns its new version.

        ``content`` must be unlike any that was ever there. Raises ChangedError if it has another version.
        """
        mode: Any = dict(version) if version else "create"

        def request() -> Version:
            try:
                return _version(obstore.put(self._store, path, content, mode=mode))
            except (AlreadyExistsError, PreconditionError, FileNotFoundError):
                # The answer to an earlier try may have been lost.
                with contextlib.suppress(FileNotFoundError):
                    found = obstore.get(self._store, path)
                    if memoryview(found.bytes()) == content:
                        return _version(found.meta)
                raise ChangedError(f"{path}: changed meanwhile") from None

        return self._repeat(request)

    def delete(self, path: str) -> None:
        """Delete a file; nothing happens if there is none."""
        with contextlib.suppress(FileNotFoundError):
            self._repeat(lambda: obstore.delete(self._store, path))

    def delete_all(self, path: str) -> None:
        """Delete a folder and all in it."""

        def request() -> None:
            for entries in obstore.list(self._store, f"{path}/"):
                obstore.delete(self._store, [entry["path"] for entry in entries])

        self._repeat(request)

    def _repeat(self, request: Callable[[], T], check: Callable[[], None] | None = None) -> T:
        """The answer to a request, which is repeated while the store fails and does not refuse."""
        deadline = time.monotonic() + self._patience_s
        while True:
            if check is not None:
                check()
            try:
                return request()
            except BaseError as error:
                status = re.search(r"status code: (\d+)", str(error))
                failed = isinstance(error, GenericError) and (status is None or status[1] in _FAILED)
                if not failed or time.monotonic() > deadline:
                    kind = PermissionError if isinstance(error, PermissionDeniedError) else OSError
                    raise kind(_reason(str(error))) from error
                time.sleep(_PAUSE_S)


def _version(found: Mapping[str, Any]) -> Version:
    return {name: found[name] for name in ("e_tag", "version") if found.get(name) is not None}


def _s3_options(url: Any, parameters: Mapping[str, str]) -> dict[str, Any]:
    for name in parameters:
        if name not in _PARAMETERS:
            near = nearest(name, _PARAMETERS)
            hint = f"; did you mean {near!r}?" if near else ""
            raise ValueError(f"unknown parameter {name!r}; allowed: {', '.join(_PARAMETERS)}{hint}")
    options: dict[str, Any] = {"disable_bulk_delete": True}  # one that got no answer would not be repeated
    if "endpoint_override" in parameters:
        options["endpoint"] = f"{parameters.get('scheme', 'https')}://{parameters['endpoint_override']}"
    if "region" in parameters:
        options["region"] = parameters["region"]
    if url.password:
        return options | {"access_key_id": unquote(url.username or ""), "secret_access_key": unquote(url.password)}
    if "AWS_ACCESS_KEY_ID" not in os.environ and (
        "AWS_PROFILE" in os.environ or (Path.home() / ".aws" / "credentials").exists()
    ):
        try:
            from obstore.auth.boto3 import Boto3CredentialProvider  # noqa: PLC0415  (an optional dependency)
        except ImportError:
            raise ValueError(
                "boto3 reads the credentials in ~/.aws: install it, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ) from None
        options["credential_provider"] = Boto3CredentialProvider()
    return options


def _reason(text: str) -> str:
    """What went wrong, without the request: ``503 Service Unavailable: Please reduce your request rate``."""
    first = text.partition("\n\nDebug source")[0]
    said = re.search(r"<Message>(.*?)</Message>", first, re.DOTALL)
    status = re.search(r"status code: ([^:<]*)", first)
    if status:
        return f"{status[1].strip()}{': ' + said[1] if said else ''}"
    return " ".join(first.rpartition(" - ")[2].split())
