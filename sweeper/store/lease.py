"""One driver a sweep: a file that names the driver and that it renews while it lives."""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Self

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
        return f"host {self.host}, pid {self.pid}, since {since}, heartbeat {self.age_s():.0f} s ago"

    def age_s(self) -> float:
        """Seconds since the last heartbeat, as far as the clocks agree."""
        return max(0.0, time.time() - self.heartbeat)

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
        return not self.dead() and self.age_s() < stale_s


def holder(folder: Folder) -> Holder | None:
    """Who holds the folder's lease, dead or alive; None if nobody does."""
    try:
        return Holder(**json.loads(folder.read_bytes(FILE)))
    except (FileNotFoundError, ValueError, TypeError):
        return None


class Lease(contextlib.AbstractContextManager["Lease"]):
    """A held lease: renewed by a thread until ``release``; a context manager."""

    def __init__(self, folder: Folder, own: Holder, stale_s: float) -> None:
        self._folder, self._own, self._stale_s = folder, own, stale_s
        self._renewed = time.monotonic()
        self._lost: str | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew_until_released, name="lease", daemon=True)
        self._thread.start()

    @classmethod
    def acquire(cls, folder: Folder, stale_s: float = 30) -> Self:
        """Take the folder's lease. Raises StoreError, naming the holder, if another process has it.

        A dead process of this machine is replaced at once; one elsewhere when its heartbeat is ``stale_s`` old
        and, clocks being what they are, has been seen to stand still.
        """
        folder.check_writable()
        other = holder(folder)
        if other is not None and not other.dead():
            if other.age_s() < stale_s:
                raise _held(folder, other)
            time.sleep(2 * stale_s / _BEATS)
        now = time.time()
        own = Holder(uuid.uuid4().hex, socket.gethostname(), _machine(), os.getpid(), now, now)
        with folder.lock():  # of several processes that found no driver at work, one becomes it
            there = holder(folder)
            if there is not None and there != other:
                raise _held(folder, there)
            folder.write(FILE, _as_bytes(own))
        if folder.local is None:  # no lock there: of two writes the later stands
            time.sleep(min(0.5, stale_s / _BEATS))
            winner = holder(folder)
            if winner is None or winner.token != own.token:
                raise _held(folder, winner)
        return cls(folder, own, stale_s)

    def check(self) -> None:
        """Raise StoreError if the lease is lost: another driver has taken over while this one stood still."""
        with self._lock:
            if self._lost is None and time.monotonic() - self._renewed > self._stale_s / 2:
                self._renew()
            if self._lost is not None:
                raise StoreError(self._lost)

    def release(self) -> None:
        """Give the lease back."""
        self._ended.set()
        self._thread.join()
        with self._lock, contextlib.suppress(OSError, StoreError), self._folder.lock():
            now = holder(self._folder)
            if now is not None and now.token == self._own.token:
                self._folder.delete(FILE)

    def __exit__(self, *raised: object) -> None:
        self.release()

    def _renew_until_released(self) -> None:
        while not self._ended.wait(self._stale_s / _BEATS):
            with self._lock:
                self._renew()

    def _renew(self) -> None:
        try:
            with self._folder.lock():
                now = holder(self._folder)
                if now is not None and now.token != self._own.token:
                    self._lost = f"{self._folder}: another launch has taken over: {now}"
                    self._ended.set()
                    return
                self._own = replace(self._own, heartbeat=time.time())
                self._folder.write(FILE, _as_bytes(self._own))
            self._renewed = time.monotonic()
        except (OSError, StoreError) as error:
            if time.monotonic() - self._renewed > self._stale_s:
                self._lost = f"{self._folder}: the lease could not be renewed for {self._stale_s:.0f} s: {error}"


def _held(folder: Folder, by: Holder | None) -> StoreError:
    return StoreError(f"{folder}: this sweep is already running: {by or 'another launch has just started it'}")


def _as_bytes(own: Holder) -> bytes:
    return json.dumps(asdict(own), indent=1).encode()


def _machine() -> str:
    """This boot and process namespace; without /proc, the host's name."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()
