"""``suggested.json`` of a sweep's folder: the trials that were suggested and have not ended, with their parameters."""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from sweeper.store.folder import Folder
from sweeper.store.sealed import sealed_json, unsealed_json
from sweeper.store.segments import Damage
from trainer.errors import StoreError

FILE = "suggested.json"
_PARAMS = TypeAdapter(dict[int, dict[str, Any]])


def read_suggested(sweep: Folder, damage: Damage) -> dict[int, dict[str, Any]] | None:
    """The trials that were suggested and had not ended, with their parameters; None if the file is not there.

    A damaged file is named.
    """
    try:
        return _PARAMS.validate_python(unsealed_json(sweep.read_bytes(FILE)))
    except FileNotFoundError:
        return None
    except (StoreError, ValueError):
        damage.skipped(f"{sweep}/{FILE}", "it is damaged; unfinished trials are suggested anew")
        return None


def write_suggested(sweep: Folder, params: Mapping[int, Mapping[str, Any]]) -> None:
    """Write the file that ``read_suggested`` reads. Raises StoreError."""
    sweep.write(FILE, sealed_json({str(number): dict(own) for number, own in params.items()}))
