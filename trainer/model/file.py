"""The file of a model: safetensors, with what is needed to use the weights as JSON in its header.

Reading unpickles nothing. The header also holds the sha256 of the whole file, taken with zeros in the digest's place.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from torch import Tensor

from trainer.errors import UserError, os_reason
from trainer.files import atomic_write

FORMAT = 1
_DIGEST = re.compile(rb'"sha256":"([0-9a-f]{64})"')
_BLANK = b"0" * 64


class ModelError(UserError):
    """A model is missing, damaged, or of a version that this code does not read."""


class About(BaseModel):
    """What the header of a model's file says."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: int
    run: dict[str, Any]
    """the run file's fields, the seed among them"""
    class_names: list[str]
    """in the order of the outputs: that of learning"""
    class_ids: list[int]
    """the data set's own labels, in the same order"""
    height: int
    """of stored images, in pixels, before the centre crop of ``run.data.crop``"""
    width: int
    channels: int
    """1 for grey images, else 3"""
    mean: list[float]
    """of each channel of pixels in [0, 1], which normalisation subtracts"""
    std: list[float]
    """of each channel of pixels in [0, 1], which normalisation divides by"""
    precision: str
    """of the training: float32, bfloat16 or float64"""
    data_fingerprint: str
    """hash of the images and labels that the run was trained and measured on"""
    split: str
    """the images that the run's accuracies were measured on"""
    accuracy_pct: float | None
    """mean over the classes after the last task, as the run recorded it"""
    git_commit: str | None
    versions: dict[str, str]
    """of Python and of the packages that had a part in the weights"""


class ModelFile(NamedTuple):
    """A file of a model that was read."""

    path: Path
    about: About
    tensors: dict[str, Tensor]


def write_model(path: Path, about: About, tensors: Mapping[str, Tensor]) -> None:
    """Write the file, atomically. Raises OSError."""
    metadata = {"about": about.model_dump_json(), "sha256": _BLANK.decode()}
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    content = bytearray(safetensors.torch.save(own, metadata))
    start = _header(content).start(1)
    content[start : start + len(_BLANK)] = hashlib.sha256(content).hexdigest().encode()
    atomic_write(path, bytes(content))


def read_model(path: Path) -> ModelFile:
    """Read the file and check its digest. Raises ModelError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {os_reason(error)}") from None
    try:
        found = _header(content)
        whole = memoryview(content)
        digest = hashlib.sha256(whole[: found.start(1)])
        digest.update(_BLANK)
        digest.update(whole[found.end(1) :])
        if digest.hexdigest().encode() != found[1]:
            raise ValueError
        size = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + size])["__metadata__"]
        tensors = safetensors.torch.load(content)
        about = json.loads(metadata["about"])
    except (ValueError, KeyError, TypeError, SafetensorError):
        raise ModelError(f"{path}: not a model, or damaged (its digest does not match)") from None
    version = about.get("format") if isinstance(about, dict) else None
    if version != FORMAT:
        raise ModelError(f"{path}: model format {version}, this version of the code reads {FORMAT}")
    try:
        return ModelFile(path, About.model_validate(about), tensors)
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _header(content: bytes | bytearray) -> re.Match[bytes]:
    """Where the digest is. Raises ValueError."""
    size = int.from_bytes(content[:8], "little")
    found = _DIGEST.search(content, 8, min(8 + size, len(content)))
    if found is None:
        raise ValueError("no digest")
    return found
