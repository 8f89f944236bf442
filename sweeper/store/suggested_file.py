"""``suggested.json`` of a sweep's folder: the trials that were suggested and have not ended, with their parameters."""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from sweeper.store.damage import Damage
from sweeper.store.folder import Folder
from sweeper.store.sealed import read_sealed, sealed_json

FILE = "suggested.json"
_PARAMS = TypeAdapter(dict[int, dict[str, Any]])


def read_suggested(sweep: Folder, damage: Damage) -> dict[int, dict[str, Any]] | None:
    """The trials that were suggested and had not ended, with their parameters; None if the file is not there.

    A damaged file is named.
    """
    return read_sealed(sweep, FILE, _PARAMS, damage, "unfinished trials are suggested anew")


def write_suggested(sweep: Folder, params: Mapping[int, Mapping[str, Any]]) -> None:
    """Write the file that ``read_suggested`` reads. Raises StoreError."""
    sweep.write(FILE, sealed_json({str(number): dict(own) for number, own in params.items()}))
