"""One driver a sweep: a file that names the driver and that it renews while it lives."""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Self

from pydantic import TypeAdapter, ValidationError

from sweeper.store.bucket import ChangedError, Version
from sweeper.store.damage import Damage
from sweeper.store.folder import Folder
from trainer.errors import StoreError

FILE = "lease.json"
_BEATS = 6
"""renewals in the time after which a lease is stale"""


@dataclass(frozen=True)
class Holder:
    """Who holds a lease, as the file says it."""

    token: str
    host: str
    machine: str
    """boot and process namespace: only where they agree does a pid mean the same process"""
    pid: int
    since: float
    """seconds since 1970"""
    heartbeat: float
    """seconds since 1970, by the holder's clock"""

    def __str__(self) -> str:
        since = datetime.fromtimestamp(self.since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        age_s = self.age_s()
        ahead = f"{-age_s:.0f} s ahead of this machine's clock" if age_s < -1 else f"{max(0.0, age_s):.0f} s ago"
        return f"host {self.host}, pid {self.pid}, since {since}, heartbeat {ahead}"

    def age_s(self) -> float:
        """Seconds since the last heartbeat, as far as the clocks agree: less than 0 if the holder's is ahead."""
        return time.time() - self.heartbeat

    def dead(self) -> bool:
        """Whether it is known that the process is no more."""
        if self.machine == _machine():
            try:
                os.kill(self.pid, 0)
            except OSError as error:  # also raised for a process of another user, which lives
                return isinstance(error, ProcessLookupError)
        return False

    def alive(self, stale_s: float = 30) -> bool:
        """Whether the holder seems to be at work."""
        return not self.dead() and abs(self.age_s()) < stale_s


_HOLDER = TypeAdapter(Holder)


def holder(folder: Folder, damage: Damage | None = None) -> Holder | None:
    """Who holds the folder's lease, dead or alive; None if nobody does, or the file does not say, which is named."""
    found = folder.read_version(FILE)
    driver = found and _parsed(found[0])
    if damage is not None and found and not driver:
        damage.skipped(f"{folder}/{FILE}", "it is damaged; the sweep's driver, or the next launch, writes it again")
    return driver


class Lease(contextlib.AbstractContextManager["Lease"]):
    """A held lease: renewed by a thread until ``release``; a context manager."""

    def __init__(self, folder: Folder, own: Holder, version: Version, stale_s: float, asked: float) -> None:
        """``asked``: when it was taken, by ``time.monotonic``."""
        self._folder, self._own, self._version, self._stale_s = folder, own, version, stale_s
        self._renewed = asked
        self._lost: str | None = None
        self._left = False
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew_until_released, name="lease", daemon=True)
        self._thread.start()

    @classmethod
    def acquire(cls, folder: Folder, stale_s: float = 30, say: Callable[[str], None] | None = None) -> Self:
        """Take the folder's lease. Raises StoreError, naming the holder, if another process has it.

        A dead process of this machine is replaced at once. One elsewhere is replaced once its heartbeat, which is old
        or, clocks being what they are, in the future, has been seen to stand still for ``stale_s``. ``say`` takes
        the line that tells of this wait.
        """
        found = folder.read_version(FILE)
        other = found and _parsed(found[0])
        if found is not None and not (other and other.dead()):
            if other and other.alive(stale_s):
                raise _held(folder, other)
            if say is not None:
                say(f"waiting {stale_s:.0f} s for a sign of the sweep's last driver: {other or f'{FILE} is damaged'}")
            deadline = time.monotonic() + stale_s
            while time.monotonic() < deadline and folder.read_version(FILE) == found:
                time.sleep(stale_s / _BEATS / 2)
        now, asked = time.time(), time.monotonic()
        own = Holder(uuid.uuid4().hex, socket.gethostname(), _machine(), os.getpid(), now, now)
        try:
            version = folder.write_if(FILE, _as_bytes(own), found and found[1])
        except ChangedError:
            raise _held(folder, holder(folder)) from None
        try:
            folder.write_if(FILE, _as_bytes(replace(own, token="")), None)
        except ChangedError:
            return cls(folder, own, version, stale_s, asked)
        folder.delete(FILE)
        raise StoreError(f"{folder}: the store ignores conditional writes, which keep a second launch out; use another")

    def check(self) -> None:
        """Raise StoreError if the lease is lost: another driver has taken over while this one stood still."""
        with self._lock:
            if self._lost is None and time.monotonic() - self._renewed > self._stale_s / 2:
                self._renew()
            if self._lost is not None:
                raise StoreError(self._lost)

    def leave(self) -> None:
        """Renew it no more, and leave its file to who moves the folder now."""
        self._ended.set()
        self._thread.join()
        self._left = True

    def release(self) -> None:
        """Give the lease back."""
        self._ended.set()
        self._thread.join()
        if self._left:
            return
        with self._lock, contextlib.suppress(StoreError), self._folder.lock(FILE):
            now = holder(self._folder)
            if now is not None and now.token == self._own.token:
                self._folder.delete(FILE)

    def __exit__(self, *raised: object) -> None:
        self.release()

    def _renew_until_released(self) -> None:
        while not self._ended.wait(self._stale_s / _BEATS):
            with self._lock, contextlib.suppress(StoreError):  # the next check tries again, and raises
                self._renew()

    def _renew(self) -> None:
        """Write a new heartbeat. Raises StoreError if that cannot be done now."""
        asked = time.monotonic()  # it may stand still before it reads the answer
        own = replace(self._own, heartbeat=time.time())
        try:
            self._version = self._folder.write_if(FILE, _as_bytes(own), self._version)
        except ChangedError:
            found = self._folder.read_version(FILE)
            now = found and _parsed(found[0])
            if now is not None and now.token != self._own.token:
                self._lost = f"{self._folder}: another launch has taken over: {now}"
                self._ended.set()
                return
            # Deleted or damaged: still ours, unless another process is quicker.
            self._version = self._folder.write_if(FILE, _as_bytes(own), found and found[1])
        self._own, self._renewed = own, asked


def _held(folder: Folder, by: Holder | None) -> StoreError:
    return StoreError(f"{folder}: this sweep is already running: {by or 'another launch has just started it'}")


def _as_bytes(own: Holder) -> bytes:
    return json.dumps(asdict(own), indent=1).encode()


def _parsed(content: bytes) -> Holder | None:
    try:
        found = _HOLDER.validate_json(content)
        str(found)  # a time that is none
    except (ValidationError, ValueError, OverflowError, OSError):
        return None
    return found


def _machine() -> str:
    """This boot and process namespace; without /proc, the host's name."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()
