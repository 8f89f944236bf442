"""torchvision's data sets, even where its compiled operators do not match the installed torch."""

import http.client
import importlib
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from trainer.data import cache, location
from trainer.data.config import DataConfig
from trainer.errors import DataError

_MISSING = re.compile(r"operator (torchvision::\w+) does not exist")


def datasets() -> Any:
    """The module ``torchvision.datasets``.

    Package registries serve a torchvision built for CUDA. Beside a CPU torch its compiled operators do not load, and
    its import fails at the first one that it wants to describe, though no data set needs any. Declaring each missing
    operator, without an implementation, lets the import pass. Raises DataError if it fails in another way.
    """
    declared: set[str] = set()
    while True:
        try:
            return importlib.import_module("torchvision.datasets")
        except (ImportError, RuntimeError) as error:
            missing = _MISSING.search(str(error))
            if missing is None or missing[1] in declared:
                raise DataError(f"torchvision cannot be imported: {error}") from error
            torch.library.define(missing[1], "() -> ()")
            declared.add(missing[1])


def folder(config: DataConfig) -> Path:
    """``data.path``, or a folder in the cache."""
    return location.expand(config.path) if config.path else cache.root() / config.source


def fetched(download: Callable[[], Any], source: str, where: Path, url: str) -> Any:
    """What ``download`` returns. Raises DataError saying which file to put where, if there is no network."""
    try:
        where.mkdir(parents=True, exist_ok=True)
        with cache.lock(source):
            return download()
    except (OSError, RuntimeError, http.client.HTTPException, tarfile.TarError, EOFError) as error:
        raise DataError(
            f"data.source {source}: not found in {where}, and the download failed ({error}): "
            f"put {url.rpartition('/')[2]} from {url} there"
        ) from error
