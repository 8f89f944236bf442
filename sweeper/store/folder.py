"""A folder on any pyarrow filesystem: a local disk, S3, GCS, HDFS. Files appear in it whole or not at all."""

import contextlib
import fcntl
import os
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from trainer.errors import StoreError
from trainer.files import atomic_write

_OBJECT_STORES = frozenset({"s3", "gcs", "abfs"})
_MAP_FROM_BYTES = 4 << 20
_UNFINISHED = re.compile(r"\..+\.\w{8}")
"""a hidden name with eight random characters behind it, as writers make them"""


@dataclass(frozen=True)
class Folder:
    """A folder, which need not exist yet: the first write makes it."""

    filesystem: fs.FileSystem
    path: str
    shown: str
    """how messages name it: the path or URI that the user gave"""

    @classmethod
    def at(cls, where: "str | Path | Folder") -> "Folder":
        """The folder at a local path or a URI (``s3://``, ``gs://``, ``file://``). Raises StoreError for others."""
        if isinstance(where, Folder):
            return where
        text = str(where)
        if "://" not in text:
            return cls(fs.LocalFileSystem(), str(Path(text).expanduser().absolute()), text)
        try:
            filesystem, path = fs.FileSystem.from_uri(text)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise StoreError(f"{text}: not a folder that pyarrow can open: {_first_line(error)}") from error
        return cls(filesystem, path, text)

    def __str__(self) -> str:
        return self.shown

    def child(self, *names: str) -> "Folder":
        """The folder below this one."""
        below = "/".join(names)
        return Folder(self.filesystem, f"{self.path.rstrip('/')}/{below}", f"{self.shown.rstrip('/')}/{below}")

    @property
    def parent(self) -> "Folder":
        """The folder above this one."""
        return Folder(self.filesystem, self.path.rpartition("/")[0], self.shown.rpartition("/")[0] or ".")

    @property
    def local(self) -> Path | None:
        """The path on this machine, or None on another filesystem."""
        return Path(self.path) if self.filesystem.type_name == "local" else None

    @property
    def reachable(self) -> str:
        """The absolute path or URI by which other processes, and nodes that share the disk, open this folder."""
        return self.path if self.local else self.shown

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
            if self.local and os.stat(self._file(name)).st_size >= _MAP_FROM_BYTES:
                with pa.memory_map(self._file(name)) as mapped:
                    return mapped.read_buffer()
            with self.filesystem.open_input_stream(self._file(name)) as stream:
                return pa.py_buffer(stream.read())
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreError(f"{self}/{name}: cannot be read: {_first_line(error)}") from error

    def write(self, name: str, content: bytes) -> None:
        """Put the file there, whole, in place of any of that name; on return it survives a power cut.

        Raises StoreError if that fails (no permission, no space).
        """
        try:
            if self.local:
                os.makedirs(self.path, exist_ok=True)
                atomic_write(self.local / name, content)
            elif self.filesystem.type_name in _OBJECT_STORES:
                self._stream(name, content)
            else:
                unfinished = f".{name}.{uuid.uuid4().hex[:8]}"
                self.filesystem.create_dir(self.path, recursive=True)
                self._stream(unfinished, content)
                self.filesystem.move(self._file(unfinished), self._file(name))
        except OSError as error:
            raise StoreError(f"{self}/{name}: cannot be written: {_first_line(error)}") from error

    def delete(self, name: str) -> None:
        """Delete the file; nothing happens if there is none."""
        with contextlib.suppress(FileNotFoundError):
            self.filesystem.delete_file(self._file(name))

    def remove(self) -> None:
        """Delete this folder and all in it; nothing happens if it is not there. What others go on writing may stay."""
        for _ in range(20):
            try:
                with contextlib.suppress(FileNotFoundError):
                    self.filesystem.delete_dir(self.path)
                return
            except OSError:  # another process put a file there meanwhile
                time.sleep(0.1)

    def delete_unfinished(self) -> None:
        """Delete what killed writers left. Only where no other process writes."""
        for info in self.filesystem.get_file_info(fs.FileSelector(self.path, allow_not_found=True)):
            if info.type == fs.FileType.File and _UNFINISHED.fullmatch(info.base_name):
                self.delete(info.base_name)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """One process at a time on a local disk; elsewhere there is no lock, and this does nothing."""
        if not self.local:
            yield
            return
        os.makedirs(self.path, exist_ok=True)
        with open(self._file(".lock"), "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def check_writable(self) -> None:
        """Raise StoreError, one line, if no file can be written here."""
        probe = f".probe-{uuid.uuid4().hex[:8]}"
        self.write(probe, b"")
        self.delete(probe)

    def _file(self, name: str) -> str:
        return f"{self.path.rstrip('/')}/{name}"

    def _listed(self, kind: fs.FileType) -> list[str]:
        try:
            if self.local:  # Arrow's listing asks for the size of each file, which nobody needs
                with os.scandir(self.path) as entries:
                    wanted = [e.name for e in entries if e.is_dir() == (kind == fs.FileType.Directory)]
            else:
                infos = self.filesystem.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
                wanted = [info.base_name for info in infos if info.type == kind]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise StoreError(f"{self}: cannot be listed: {_first_line(error)}") from error
        return sorted(name for name in wanted if not name.startswith("."))

    def _stream(self, name: str, content: bytes) -> None:
        with self.filesystem.open_output_stream(self._file(name)) as stream:
            stream.write(content)


def _first_line(error: BaseException) -> str:
    text = str(getattr(error, "strerror", None) or error).strip()
    return text.splitlines()[0] if text else type(error).__name__
