"""Rename and delete sweeps, together with what their promotions trained, and keep a note on each."""

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator
from typing import Annotated

from pydantic import Field, TypeAdapter

from sweeper.store.damage import Damage
from sweeper.store.folder import Folder
from sweeper.store.lease import FILE as LEASE
from sweeper.store.lease import Lease
from sweeper.store.names import check_name
from sweeper.store.sealed import read_sealed, sealed_json
from sweeper.store.status_file import Status
from sweeper.store.sweeps import find_sweep, is_promotion, promotion_of, sweeps
from trainer.errors import ConfigError, StoreError, os_reason

NOTE = "note.json"
_NOTE = TypeAdapter(dict[Annotated[str, Field(pattern="^note$")], str])

Say = Callable[[str], None]


def with_promotion(results: Folder, name: str) -> list[str]:
    """The sweep and, if there is one, that of its promotions. Raises StoreError if there is no such sweep."""
    find_sweep(results, name)
    return [name, *(other for other in [promotion_of(name)] if other in sweeps(results))]


def rename(results: Folder, name: str, new: str, say: Say) -> None:
    """Give a sweep another name. On a disk that is one step; elsewhere its files are copied, then deleted.

    Raises StoreError if a driver runs it, if there is no such sweep, or one of the new name; ConfigError for what
    cannot be a name.
    """
    check_name(new)
    for given in (name, new):
        if is_promotion(given):
            allowed = f"the name of a sweep, with which {promotion_of('...')} is renamed"
            raise ConfigError(f"{given!r} is what promotions store their runs in", field="name", allowed=allowed)
    owned = with_promotion(results, name)
    renamed = {old: promotion_of(new) if is_promotion(old) else new for old in owned}
    for target in renamed.values():
        if results.child(target).names() or results.child(target).folders():
            raise StoreError(f"{results.child(target)}: exists already; choose another name, or delete it")
    with _leases(results, owned, say) as leases:
        for old in reversed(owned):  # until the last step the sweep itself has its old name
            _move(results.child(old), results.child(renamed[old]), leases[old])
    for target in renamed.values():
        status = Status.read(results.child(target), Damage())
        if status is not None:
            status.keep(results.child(target))


def delete(results: Folder, name: str, say: Say) -> None:
    """Delete a sweep and what its promotions trained; run files stay. Raises StoreError as ``rename`` does."""
    owned = with_promotion(results, name)
    with _leases(results, owned, say) as leases:
        for own in reversed(owned):
            folder = results.child(own)
            if folder.local is None:
                _delete_files(folder)
                continue
            hidden = results.child(f".{own}.deleted-{uuid.uuid4().hex[:8]}")  # at once, and never half of it
            _move(folder, hidden, leases[own])
            hidden.remove()


def read_note(sweep: Folder, damage: Damage) -> str | None:
    """The note on a sweep, if there is one."""
    found = read_sealed(sweep, NOTE, _NOTE, damage, "write it again")
    return None if found is None else found.get("note")


def write_note(sweep: Folder, text: str) -> None:
    """Replace the note on a sweep; an empty text deletes it."""
    if text:
        sweep.write(NOTE, sealed_json({"note": text}))
    else:
        sweep.delete(NOTE)


@contextlib.contextmanager
def _leases(results: Folder, names: list[str], say: Say) -> Iterator[dict[str, Lease]]:
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(Lease.acquire(results.child(name), say=say)) for name in names}


def _move(folder: Folder, to: Folder, lease: Lease) -> None:
    if folder.local is not None and to.local is not None:
        lease.leave()
        try:
            os.rename(folder.local, to.local)
        except OSError as error:
            raise StoreError(f"{folder}: cannot be renamed: {os_reason(error)}") from error
        to.delete(LEASE)
    else:
        _copy(folder, to)
        _delete_files(folder)


def _copy(folder: Folder, to: Folder) -> None:
    """``space.yaml``, which makes a folder a sweep's, comes last."""
    for name in folder.folders():
        _copy(folder.child(name), to.child(name))
    for name in folder.names():
        if name != LEASE:
            to.write(name, folder.read_bytes(name))


def _delete_files(folder: Folder) -> None:
    """All but the lease, which its holder gives back."""
    for name in folder.names():
        if name != LEASE:
            folder.delete(name)
    for name in folder.folders():
        folder.child(name).remove()
