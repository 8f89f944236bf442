"""``steering/`` of a sweep's folder: what people ask of its driver while it runs, and what the driver answered.

``000003.json`` is a request, written once by whoever makes it; ``000003.taken.json`` is the answer, written by the
driver alone, and what a resume restores. A request without an answer waits.
"""

import re
import time
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, Self

from pydantic import TypeAdapter

from sweeper.store.bucket import ChangedError
from sweeper.store.damage import Damage
from sweeper.store.folder import Folder
from sweeper.store.sealed import read_sealed, sealed_json

FOLDER = "steering"
_NAME = re.compile(r"(\d{6,})(\.taken)?\.json")

Action = Literal["add", "stop", "pause", "resume", "trials", "note"]


@dataclass(frozen=True)
class Request:
    """What somebody asks of a sweep. Times are seconds since 1970."""

    action: Action
    by: str
    """user@host"""
    params: dict[str, Any] = field(default_factory=dict)
    """values of a configuration to add, by dimension; the sampler suggests the others"""
    number: int | None = None
    """the trial to stop, or the new total of configurations"""
    text: str = ""
    """a note"""
    at: float = field(default_factory=time.time)
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    """unlike any other's: the one that is stored under a number is known by it"""


@dataclass(frozen=True)
class Taken:
    """The driver's answer to a request."""

    stated: int
    """configurations that the launch's file states"""
    trial: int | None = None
    """number of the added configuration"""
    refused: str | None = None
    """why the request was not followed"""
    at: float = field(default_factory=time.time)


class Entry(NamedTuple):
    """A request and its answer."""

    number: int
    request: Request
    taken: Taken | None


def state_of(taken: Taken | None) -> str:
    """waiting, taken or refused: by the answer to a request."""
    return "waiting" if taken is None else "taken" if taken.refused is None else "refused"


_REQUEST, _TAKEN = TypeAdapter(Request), TypeAdapter(Taken)


def submit(sweep: Folder, request: Request) -> int:
    """Store a request for the sweep's driver. Returns its number; of several at one instant each has its own.

    Raises StoreError.
    """
    folder, content = sweep.child(FOLDER), sealed_json(asdict(request))
    with sweep.lock():
        while True:
            number = 1 + max((found for found, _ in _listed(folder)), default=-1)
            try:
                folder.write_if(_file(number), content, None)
                return number
            except ChangedError:  # where there is no lock, a condition decides
                continue


def answer(sweep: Folder, number: int, taken: Taken) -> None:
    """Store the answer to a request. Only for the holder of the lease. Raises StoreError."""
    sweep.child(FOLDER).write(_file(number, taken=True), sealed_json(asdict(taken)))


def read_steering(sweep: Folder, damage: Damage, known: Iterable[int] = ()) -> list[Entry]:
    """The requests, in their order, but for the numbers that are ``known``; damaged and missing files are named.

    A request whose answer is damaged has been taken and is left out: nothing is done twice. Raises StoreError.
    """
    folder, entries = sweep.child(FOLDER), list[Entry]()
    listed, known = set(_listed(folder)), set(known)
    for number in sorted(set(range(1 + max((found for found, _ in listed), default=-1))) - known):
        if (number, False) not in listed:
            damage.skipped(f"{folder}/{_file(number)}", "it is missing")
            continue
        request = read_sealed(folder, _file(number), _REQUEST, damage, "it is not taken")
        taken = None
        if (number, True) in listed:
            name = _file(number, taken=True)
            taken = read_sealed(folder, name, _TAKEN, damage, f"{_file(number)} counts as taken, without effect")
        if request is not None and (taken is not None or (number, True) not in listed):
            entries.append(Entry(number, request, taken))
    return entries


def tidy_steering(sweep: Folder) -> None:
    """Delete what killed writers left. Only for the holder of the lease."""
    with sweep.lock():  # others write requests at any time
        sweep.child(FOLDER).delete_unfinished()


@dataclass
class Steered:
    """What the requests that were taken add up to."""

    trials: int
    """total number of configurations"""
    stated: int
    """what the launch's file states"""
    paused: str | None = None
    """who paused the sweep, and when"""
    stopped: set[int] = field(default_factory=set)
    """trials that end early"""
    added: dict[int, dict[str, Any]] = field(default_factory=dict)
    """values that were given, by number of the configuration"""

    @classmethod
    def of(cls, entries: Iterable[Entry], stated: int) -> Self:
        """``stated``: configurations that the file of this launch states. A file that states another number than
        when a request was taken prevails over what was asked before.
        """
        state = cls(stated, stated)
        for entry in entries:
            if entry.taken is not None:
                state._restate(entry.taken.stated)
                state.apply(entry.request, entry.taken)
        state._restate(stated)
        return state

    def apply(self, request: Request, taken: Taken) -> None:
        """Follow a request as it was answered."""
        if taken.refused is not None:
            return
        match request.action:
            case "add" if taken.trial is not None:
                self.added[taken.trial] = request.params
                self.trials += 1
            case "stop" if request.number is not None:
                self.stopped.add(request.number)
            case "trials" if request.number is not None:
                self.trials = request.number
            case "pause":
                self.paused = f"by {request.by}, {datetime.fromtimestamp(request.at, UTC):%Y-%m-%d %H:%M:%S UTC}"
            case "resume":
                self.paused = None

    def _restate(self, stated: int) -> None:
        if stated != self.stated:
            self.trials = self.stated = stated


def is_paused(entries: Iterable[Entry]) -> bool:
    """Whether the sweep is paused, or will be once what waits is taken."""
    asked = [
        e.request.action for e in entries if state_of(e.taken) != "refused" and e.request.action in ("pause", "resume")
    ]
    return asked[-1:] == ["pause"]


def _file(number: int, *, taken: bool = False) -> str:
    return f"{number:06d}{'.taken' if taken else ''}.json"


def _listed(folder: Folder) -> list[tuple[int, bool]]:
    """Numbers of the files, each with whether it is an answer."""
    found = [_NAME.fullmatch(name) for name in folder.names()]
    return [(int(match[1]), match[2] is not None) for match in found if match]
