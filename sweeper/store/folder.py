"""A folder on a disk, in a bucket, or on any filesystem of pyarrow. Files appear in it whole or not at all."""

import contextlib
import fcntl
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
from obstore.exceptions import BaseError
from pyarrow import fs

from sweeper.store.bucket import SCHEMES, Bucket, ChangedError, Version
from trainer.errors import StoreError, os_reason
from trainer.files import atomic_write

_MAP_FROM_BYTES = 4 << 20
_LOCK_S = 30
_UNFINISHED = re.compile(r"\.(.+)\.\w{8}")
"""a hidden name with eight random characters behind it, as writers make them"""
_PASTED = re.compile(r"(?:endpoint_override|scheme|region)=[^&]*")
"""parameters of a URI that are no secret"""


@dataclass(frozen=True)
class Folder:
    """A folder, which need not exist yet: the first write makes it."""

    filesystem: fs.FileSystem | Bucket
    path: str
    shown: str
    """how messages name it: the path or URI that the user gave, without the URI's credentials and parameters"""
    credentials: str = field(default="", repr=False)
    """``access_key:secret_key@`` of the URI"""
    parameters: str = field(default="", repr=False)
    """``?region=...`` of the URI"""
    check: Callable[[], None] | None = field(default=None, repr=False, compare=False)
    """called before each change; what it raises prevents the change"""

    @property
    def name(self) -> str:
        """The last part of its path: the name of a sweep, for a sweep's folder."""
        return self.path.rpartition("/")[2]

    @classmethod
    def at(cls, where: "str | Path | Folder") -> "Folder":
        """The folder at a local path or a URI (``s3://``, ``gs://``, ``file://``). Raises StoreError for others."""
        if isinstance(where, Folder):
            return where
        text = str(where)
        scheme, separator, rest = text.partition("://")
        if not separator:
            return cls(fs.LocalFileSystem(), str(Path(text).expanduser().absolute()), text)
        location, mark, query = rest.partition("?")
        user, at, _ = location.partition("/")[0].rpartition("@")
        credentials = f"{user}{at}" if ":" in user else ""  # Azure has the container's name there
        shown = f"{scheme}://{location.removeprefix(credentials)}"
        try:
            bucket = scheme in SCHEMES
            filesystem, path = Bucket.of(text) if bucket else fs.FileSystem.from_uri(text)
        except (pa.ArrowException, BaseError, OSError, ValueError) as error:
            said = str(error).replace(credentials or text, "").partition("\n")[0]
            raise StoreError(f"{shown}: not a folder that can be opened: {said}") from None
        return cls(filesystem, path, shown, credentials, mark + query)

    def __str__(self) -> str:
        return self.shown

    def child(self, *names: str) -> "Folder":
        """The folder below this one."""
        below = "/".join(names)
        path = f"{self.path.rstrip('/')}/{below}".lstrip("/" if isinstance(self.filesystem, Bucket) else "")
        return replace(self, path=path, shown=f"{self.shown.rstrip('/')}/{below}")

    @property
    def parent(self) -> "Folder":
        """The folder above this one."""
        return replace(self, path=self.path.rpartition("/")[0], shown=self.shown.rpartition("/")[0] or ".")

    @property
    def local(self) -> Path | None:
        """The path on this machine, or None on another filesystem."""
        return None if isinstance(self.filesystem, Bucket) or self.filesystem.type_name != "local" else Path(self.path)

    @property
    def reachable(self) -> str:
        """The absolute path or URI by which other processes, and nodes that share the disk, open this folder."""
        scheme, _, rest = self.shown.partition("://")
        return self.path if self.local else f"{scheme}://{self.credentials}{rest}{self.parameters}"

    @property
    def argument(self) -> str:
        """How a printed command names it: with the parameters of a URI that are no secret."""
        return "?".join(filter(None, [self.shown, "&".join(_PASTED.findall(self.parameters))]))

    def names(self) -> list[str]:
        """Names of the files in this folder, sorted; hidden ones (unfinished writes) left out."""
        return self._listed(fs.FileType.File)

    def folders(self) -> list[str]:
        """Names of the folders in this folder, sorted; hidden ones left out."""
        return self._listed(fs.FileType.Directory)

    def read_bytes(self, name: str) -> bytes:
        """The file's content. Raises FileNotFoundError, or StoreError if it cannot be read."""
        return self.read_buffer(name).to_pybytes()

    def read_buffer(self, name: str) -> pa.Buffer:
        """The file's content; a large local file is mapped, not copied. Raises as ``read_bytes`` does."""
        try:
            if isinstance(self.filesystem, Bucket):
                return pa.py_buffer(self.filesystem.read(self._file(name))[0])
            if self.local and os.stat(self._file(name)).st_size >= _MAP_FROM_BYTES:
                with pa.memory_map(self._file(name)) as mapped:
                    return mapped.read_buffer()
            with self.filesystem.open_input_stream(self._file(name)) as stream:
                return pa.py_buffer(stream.read())
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self._failed(error, "read", name) from error

    def write(self, name: str, content: bytes, *, sync: bool = True) -> None:
        """Put the file there, whole, in place of any of that name; on return it survives a power cut.

        Without ``sync`` it may not: for what is written again at the next change. Raises StoreError if that fails (no
        permission, no space).
        """
        self._check()
        try:
            if isinstance(self.filesystem, Bucket):
                self.filesystem.write(self._file(name), content, self.check)
            elif self.local:
                os.makedirs(self.path, exist_ok=True)
                atomic_write(self.local / name, content, sync=sync)
            else:
                unfinished = f".{name}.{uuid.uuid4().hex[:8]}"
                self.filesystem.create_dir(self.path, recursive=True)
                with self.filesystem.open_output_stream(self._file(unfinished)) as stream:
                    stream.write(content)
                self.filesystem.move(self._file(unfinished), self._file(name))
        except OSError as error:
            raise self._failed(error, "written", name) from error

    def read_version(self, name: str) -> tuple[bytes, Version] | None:
        """The file's content, and what ``write_if`` is told to replace exactly that; None if there is no such file."""
        with contextlib.suppress(FileNotFoundError):
            try:
                if isinstance(self.filesystem, Bucket):
                    content, version = self.filesystem.read(self._file(name))
                    return bytes(content), version
                return (found := self.read_bytes(name)), {"content": found}
            except FileNotFoundError:
                raise
            except OSError as error:
                raise self._failed(error, "read", name) from error
        return None

    def write_if(self, name: str, content: bytes, version: Version | None) -> Version:
        """Put the file there if it still is as it was read, or still is not there (None); returns its new version.

        ``content`` must be unlike any that the file ever had. Of several processes one succeeds: by the lock on a local
        disk, by a condition of the request on an object store; other filesystems have neither. Raises ChangedError,
        or as ``write`` does.
        """
        try:
            if isinstance(self.filesystem, Bucket):
                self._check()
                return self.filesystem.write_if(self._file(name), content, version)
        except OSError as error:
            raise self._failed(error, "written", name) from error
        with self.lock(name):
            there = self.read_version(name)
            if version != (there and there[1]):
                raise ChangedError(f"{self}/{name}: changed meanwhile")
            self.write(name, content)
        return {"content": content}

    def delete(self, name: str) -> None:
        """Delete the file; nothing happens if there is none. Raises StoreError if that fails."""
        self._check()
        try:
            if isinstance(self.filesystem, Bucket):
                self.filesystem.delete(self._file(name))
            else:
                with contextlib.suppress(FileNotFoundError):
                    self.filesystem.delete_file(self._file(name))
        except OSError as error:
            raise self._failed(error, "deleted", name) from error

    def remove(self) -> None:
        """Delete this folder and all in it; nothing happens if it is not there. What others go on writing may stay."""
        self._check()
        for _ in range(20):
            try:
                if isinstance(self.filesystem, Bucket):
                    self.filesystem.delete_all(self.path)
                else:
                    with contextlib.suppress(FileNotFoundError):
                        self.filesystem.delete_dir(self.path)
                return
            except OSError:  # another process put a file there meanwhile
                time.sleep(0.1)

    def unfinished(self, of: str | None = None) -> list[str]:
        """Names of what killed writers left here, ``of`` one file or of all."""
        if isinstance(self.filesystem, Bucket):  # there a file is whole or not at all
            return []
        found = [_UNFINISHED.fullmatch(name) for name in self._listed(fs.FileType.File, hidden=True)]
        return [match[0] for match in found if match and of in (None, match[1])]

    def delete_unfinished(self, of: str | None = None) -> None:
        """Delete what ``unfinished`` names. Only where no other process writes."""
        for name in self.unfinished(of):
            self.delete(name)

    @contextlib.contextmanager
    def lock(self, of: str = "") -> Iterator[None]:
        """One process at a time, for the folder or one file, on a local disk. Elsewhere there is no lock.

        Raises StoreError if another process keeps it for half a minute.
        """
        if not self.local:
            yield
            return
        name = f".{of}.lock" if of else ".lock"
        try:
            os.makedirs(self.path, exist_ok=True)
            file = os.open(self._file(name), os.O_WRONLY | os.O_CREAT)
        except OSError as error:
            raise self._failed(error, "written", name) from error
        try:
            deadline = time.monotonic() + _LOCK_S
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise StoreError(f"{self}/{name}: held by a process that stands still; end it") from None
                    time.sleep(0.005)
            yield
        finally:
            os.close(file)

    def _check(self) -> None:
        if self.check is not None:
            self.check()

    def _failed(self, error: OSError, what: str, name: str) -> StoreError:
        return StoreError(f"{self}/{name}: cannot be {what}: {os_reason(error)}")

    def _file(self, name: str) -> str:
        return f"{self.path.rstrip('/')}/{name}".lstrip("/" if isinstance(self.filesystem, Bucket) else "")

    def _listed(self, kind: fs.FileType, hidden: bool = False) -> list[str]:
        try:
            if isinstance(self.filesystem, Bucket):
                wanted = self.filesystem.entries(self.path)[kind == fs.FileType.Directory]
            elif self.local:  # Arrow's listing asks for the size of each file, which nobody needs
                with os.scandir(self.path) as entries:
                    wanted = [e.name for e in entries if e.is_dir() == (kind == fs.FileType.Directory)]
            else:
                infos = self.filesystem.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
                wanted = [info.base_name for info in infos if info.type == kind]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise StoreError(f"{self}: cannot be listed: {os_reason(error)}") from error
        return sorted(name for name in wanted if hidden or not name.startswith("."))
