"""Where a number came from: code, packages, machine."""

import contextlib
import functools
import hashlib
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import torch

_PACKAGE = Path(__file__).resolve().parents[1]
_PACKAGES = ("torch", "numpy", "scikit-learn", "pillow", "ray", "optuna", "pyarrow")


@functools.cache
def versions() -> dict[str, str]:
    """Python's version and those of the packages that have a part in a result, where installed."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    found["torch"] = torch.__version__
    return found


@functools.cache
def git_commit() -> str:
    """The commit of this code, with ``-dirty`` where files of the trainer differ from it.

    A copy without its history, as a Ray job's workers have it, or one that was installed within somebody's repository,
    is named by its content: ``source-`` and a hash.
    """
    git = functools.partial(subprocess.run, cwd=_PACKAGE, capture_output=True, text=True, timeout=10, check=True)
    try:
        git(["git", "ls-files", "--error-unmatch", "--", "run.py"])
        commit = git(["git", "rev-parse", "HEAD"]).stdout.strip()
        dirty = git(["git", "status", "--porcelain", "--", "."]).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return source_digest()
    return commit + ("-dirty" if dirty else "")


def source_digest() -> str:
    """``source-`` and a hash of the trainer's files: equal wherever the code is."""
    digest = hashlib.sha256()
    for file in sorted(_PACKAGE.rglob("*.py")):
        digest.update(str(file.relative_to(_PACKAGE)).encode() + b"\0" + file.read_bytes())
    return f"source-{digest.hexdigest()[:16]}"


def device_name(device: torch.device) -> str:
    """``cpu``, or the name of the GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
