"""Where a data set lies: data.path with its environment variables filled in."""

import os
import re
from pathlib import Path

from trainer.data import nearby
from trainer.data.config import DataConfig
from trainer.data.file_types import readable
from trainer.errors import ConfigError, DataError, nearest_path

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
SOURCES = {".parquet": "parquet", ".npz": "npz", ".csv": "csv", ".tsv": "csv", ".tar": "webdataset"}
"""the source that reads files of a suffix; images and lists of them are of ``image_folder``"""


def expand(path: str) -> Path:
    """``${NAME}``, ``$NAME`` and ``~`` filled in. Raises DataError for a variable that is not set."""

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if not os.environ.get(name):
            raise DataError(f"data.path: the environment variable {name} is not set (in {path!r})")
        return os.environ[name]

    return Path(_VARIABLE.sub(value, path)).expanduser()


def beside(path: str, folder: Path) -> str:
    """What a file in ``folder`` means by the ``data.path`` that it states.

    A relative path starts at the file's folder if it leads to something there, and at the working directory otherwise:
    then it is returned as it is, as are absolute paths and those with variables.
    """
    if path.startswith("~") or _VARIABLE.search(path) or Path(path).is_absolute():
        return path
    there = Path(os.path.normpath(folder.resolve() / path))  # links resolved first, or ".." would lead elsewhere
    return str(there) if there.exists() else path


def as_stated(path: str, file: Path) -> str:
    """What ``file`` should state so that ``beside`` leads to the absolute ``path``.

    It is relative where the images are in the working directory or below, so that the whole can be moved and shared.
    """
    if not Path(path).is_absolute() or not Path(os.path.normpath(path)).is_relative_to(Path.cwd()):
        return path
    return os.path.relpath(path, file.parent.resolve())


def found(config: DataConfig) -> Path:
    """What ``data.path`` leads to. Raises ConfigError where it is not given, DataError where it is not there."""
    if config.path is None:
        raise ConfigError(f"is missing: the source {config.source} reads a folder", field="data.path")
    path = expand(config.path)
    if not path.exists():
        where = "" if path.is_absolute() else ", beside the file that states it and in the working directory"
        raise DataError(f"data.path: {path} is missing{where}{nearest_path(path)}")
    return path


def folder(config: DataConfig) -> Path:
    """The folder of ``data.path``. Raises ConfigError where it is not given, DataError where it is not there."""
    path = found(config)
    if not path.is_dir():
        raise DataError(f"data.path: {path} is not a folder{hint(path) or nearby.hint(path)}")
    return path


def hint(path: Path, *, folders: bool = True) -> str:
    """Which source reads the files at ``path``, to end a message with; empty where that is not known.

    ``folders``: whether class folders count too.
    """
    files = [path] if path.is_file() else [file for pattern in ("*", "data/*") for file in sorted(path.glob(pattern))]
    found = next((suffix for file in files if (suffix := file.suffix.lower()) in SOURCES), None)
    if found:
        return f"; data.source: {SOURCES[found]} reads {found} files"
    images = readable()
    if folders and any(file.suffix.lower() in images for pattern in ("*/*", "*/*/*") for file in path.glob(pattern)):
        return "; data.source: image_folder reads class folders"
    return ""
