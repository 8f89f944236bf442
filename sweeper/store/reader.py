"""Reading the parts of a table: every row once, whatever was damaged, merged or half deleted meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from sweeper.store import schema
from sweeper.store.folder import Folder
from sweeper.store.parts import MERGED, DamagedPart, Part, decode, file_name, part_name
from sweeper.store.rows import Live, Rows
from trainer.errors import StoreError

DETAILS = ("tasks", "epochs", "classes")
"""the tables whose rows count once their attempt has rows in ``trials``"""

_LISTINGS = 50
_CONNECTIONS = 16


@dataclass(frozen=True)
class Snapshot:
    """The parts of a table at one moment."""

    live: tuple[Live, ...]
    replaced: tuple[str, ...]
    """parts still there whose rows are in a merged one"""


class Damage:
    """Names each damaged part once."""

    def __init__(self, report: Callable[[str], None] | None = None) -> None:
        self._report = report or _to_stderr
        self._named: set[str] = set()

    def passed_over(self, file: str, reason: str) -> None:
        if file not in self._named:
            self._named.add(file)
            self._report(f"{file}: passed over: {reason}")


def _to_stderr(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr)


def rows_of(sweep: Folder, table: str, damage: Damage) -> Rows:
    """All rows in the parts of one table of a sweep."""
    return rows_of_all([sweep], table, damage)


def rows_of_all(sweeps: Iterable[Folder], table: str, damage: Damage) -> Rows:
    """The same of several sweeps together."""
    live = [one for sweep in sweeps for one in snapshot(sweep.child(table), damage).live]
    return Rows(live, schema.schema(table))


def committed(trials: ds.Dataset) -> ds.Expression:
    """Selects the rows of other tables whose attempt is one that ``trials`` holds."""
    attempts = trials.to_table(columns={"attempt": _attempt()})["attempt"]
    return pc.is_in(_attempt(), value_set=attempts.combine_chunks().unique())


def _attempt() -> ds.Expression:
    columns = (pc.field("sweep"), pc.field("trial").cast(pa.string()), pc.field("attempt"))
    return pc.binary_join_element_wise(*columns, "/", null_handling="replace", null_replacement="")


def snapshot(folder: Folder, damage: Damage, only: Collection[str] | None = None) -> Snapshot:
    """The parts in a table's folder; ``only``: these, and those that are merged, as they may be in them.

    Raises StoreError for a part of a newer schema.
    """
    wanted = None if only is None else frozenset(only)
    return _resolve(_read(folder, damage, lambda name: wanted is None or name in wanted or name.startswith(MERGED)))


class Latest:
    """What is new in a table's folder since the last look."""

    def __init__(self, folder: Folder, damage: Damage) -> None:
        self._folder, self._damage = folder, damage
        self._seen: set[str] = set()

    def look(self) -> tuple[Live, ...]:
        """The parts that are new, and merged ones that hold a new one, whole: what was seen can be seen again."""
        parts = _read(self._folder, self._damage, lambda name: name not in self._seen)
        found = {n: p for n, p in parts.items() if p is not None and not (p.merged and p.merged.keys() <= self._seen)}
        self._seen.update(parts, *(part.merged for part in found.values()))
        return tuple(Live(name, part, part.merged) for name, part in found.items())


def _read(folder: Folder, damage: Damage, wanted: Callable[[str], bool]) -> dict[str, Part | None]:
    for _ in range(_LISTINGS):
        names = [name for name in _stable_names(folder) if wanted(name)]
        try:
            return dict(zip(names, _load(folder, names, damage), strict=True))
        except FileNotFoundError:  # merged and deleted since it was listed: its rows are in a new file
            continue
    raise StoreError(f"{folder}: its files changed {_LISTINGS} times while they were read")


def _names(folder: Folder) -> list[str]:
    return [part for part in map(part_name, folder.names()) if part]


def _stable_names(folder: Folder) -> list[str]:
    # A listing is no snapshot: it can pass where a merged file will appear, and then miss the parts
    # which that one replaced. Then the next listing shows a merged file that this one did not.
    names = _names(folder)
    for _ in range(_LISTINGS):
        again = _names(folder)
        if [n for n in again if n.startswith(MERGED)] == [n for n in names if n.startswith(MERGED)]:
            return names
        names = again
    return names


def _load(folder: Folder, names: Sequence[str], damage: Damage) -> list[Part | None]:
    def load(name: str) -> Part | None:
        file = file_name(name)
        content = folder.read_buffer(file)
        try:
            return decode(name, content)
        except DamagedPart as error:
            damage.passed_over(f"{folder}/{file}", str(error))
            return None
        except StoreError as error:
            raise StoreError(f"{folder}/{file}: {error}") from error

    if folder.local is not None:  # threads would only wait for each other: most of the time is Python's
        return [load(name) for name in names]
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        return list(pool.map(load, names))


def _resolve(parts: dict[str, Part | None]) -> Snapshot:
    """Which of the parts count, and which are in a merged one already."""
    found = {name: part for name, part in parts.items() if part is not None}
    replaced = {name for part in found.values() for name in part.merged_files if name in found}
    owned: dict[str, str] = {}
    live: list[Live] = []
    for name, part in found.items():
        if not name.startswith(MERGED) or name in replaced:
            continue
        kept = {}
        for old, merged in part.merged.items():
            again = found.get(old)
            if again is not None and again.checksum != merged.checksum:
                continue  # written anew since: the file counts
            if old not in owned:
                owned[old] = name
                kept[old] = merged
        live.append(Live(name, part, kept))
    replaced |= {name for name in found if name in owned}
    live += [Live(n, p) for n, p in found.items() if n not in replaced and not n.startswith(MERGED)]
    return Snapshot(tuple(live), tuple(sorted(replaced)))
