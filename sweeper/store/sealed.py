"""Small files with a checksum of their values: one that a disk or a hand has changed is noticed, not believed."""

import json
import zlib
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter

from sweeper.store.damage import Damage
from sweeper.store.folder import Folder
from trainer.errors import StoreError

T = TypeVar("T")

_NAME = "crc32"


def seal(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, which JSON can hold, and their checksum."""
    return {**values, _NAME: _checksum(values)}


def unseal(content: Any) -> dict[str, Any]:
    """The values that were sealed. Raises ValueError for anything else."""
    values = dict(content) if isinstance(content, Mapping) else {}
    if values.pop(_NAME, None) != _checksum(values):
        raise ValueError("checksum mismatch (changed, truncated or corrupted)")
    return values


def sealed_json(values: Mapping[str, Any]) -> bytes:
    """A JSON file of these values."""
    return json.dumps(seal(values), indent=1).encode()


def unsealed_json(content: bytes) -> dict[str, Any]:
    """The values in such a file. Raises ValueError."""
    try:
        return unseal(json.loads(content))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_sealed(folder: Folder, name: str, kind: TypeAdapter[T], damage: Damage, instead: str) -> T | None:
    """What a sealed JSON file holds; None if it is not there, or is damaged: then it is named, with what is done."""
    try:
        return kind.validate_python(unsealed_json(folder.read_bytes(name)))
    except FileNotFoundError:
        return None
    except (StoreError, ValueError):
        damage.skipped(f"{folder}/{name}", f"it is damaged; {instead}")
        return None


def _checksum(values: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(values, sort_keys=True).encode()):08x}"
