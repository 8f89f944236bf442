"""``stopped.json`` of a sweep's folder: the trials that were stopped by hand, which workers look up after each task."""

from collections.abc import Iterable

from pydantic import TypeAdapter

from sweeper.store.damage import Damage
from sweeper.store.folder import Folder
from sweeper.store.sealed import read_sealed, sealed_json

FILE = "stopped.json"
_TRIALS = TypeAdapter(dict[str, set[int]])


def read_stopped(sweep: Folder, damage: Damage) -> set[int]:
    """Numbers of the trials; none where the file is not there, or is damaged, which is named."""
    found = read_sealed(sweep, FILE, _TRIALS, damage, "the next launch writes it again")
    return set() if found is None else found.get("trials", set())


def write_stopped(sweep: Folder, trials: Iterable[int]) -> None:
    """Write the file that ``read_stopped`` reads. Raises StoreError."""
    sweep.write(FILE, sealed_json({"trials": sorted(trials)}))
