"""Check a results folder and its sweeps for what keeps a launch from running, and say what to do about it."""

import contextlib
import fcntl
import io
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sweeper.store import schema
from sweeper.store.damage import Damage
from sweeper.store.folder import Folder
from sweeper.store.lease import holder
from sweeper.store.results import open_results
from sweeper.store.segments import Segments
from sweeper.store.status_file import Status, report_lost
from sweeper.store.store import Store
from sweeper.store.sweep_file import read_space
from sweeper.store.sweeps import is_promotion
from trainer.errors import StoreError, UserError

CLOCKS_S = 5.0
"""difference of two clocks that is too large: a lease counts as abandoned after half a minute"""
_ROOM = 1 << 30
_IN_MEMORY = ("tmpfs", "ramfs")
_FILES = {"space.yaml", "status.json", "suggested.json", "packing.json", "lease.json", "note.json", "stopped.json"}
_FOLDERS = {"runs", "promotions", "checkpoints", "base", "failed", "steering"}


class Finding(NamedTuple):
    """What a check has found."""

    about: str
    text: str
    remedy: str | None = None
    """what to do; None where all is well"""

    def __str__(self) -> str:
        return (
            f"ok  {self.about}: {self.text}" if self.remedy is None else f"!!  {self.about}: {self.text}: {self.remedy}"
        )


def check_results(results: Folder) -> Iterator[Finding]:
    """Whether files can be written there as sweeps need it, and what room there is."""
    about = f"results in {results}"
    try:
        yield _written(results, about)
    except StoreError as error:
        yield Finding(about, str(error), "make the folder writable, or choose another one with --results")
        return
    if results.local is None:
        return
    kind = _filesystem(results.local)
    if kind in _IN_MEMORY:
        yield Finding(about, f"lie in memory ({kind})", "choose a folder on a disk: a restart loses these")
    if not _locks(results):
        yield Finding(about, f"{kind} has no file locks", "take care that no sweep is launched twice at a time")
    free = shutil.disk_usage(results.local).free
    room = f"{_size(free)} free"
    yield Finding("disk", room, None if free > _ROOM else f"free some: below {_size(_ROOM)} sweeps soon stop")


def check_sweep(results: Folder, sweep: str) -> Iterator[Finding]:
    """The lease, files, leftovers and needs of a sweep. Raises StoreError if there is none of that name."""
    folder = results.child(sweep)
    about = f"sweep {sweep}"
    try:
        store = Store(results, sweep, report=lambda line: None)
        lines = _damaged(results, sweep)
    except StoreError as error:
        yield Finding(about, str(error), "read it with the version of the code that wrote it")
        return
    yield Finding(about, f"configurations stored, in the schema of this version: {len(store.trials())}")
    yield from (Finding(about, line, "restore it from a backup, or launch the sweep again") for line in lines)
    foreign = [f"{folder}/{name}" for name in folder.names() if name not in _FILES]
    foreign += [f"{folder}/{name}" for name in folder.folders() if name not in _FOLDERS]
    yield from (Finding(about, f"{name} is no file of a sweep", "move it elsewhere") for name in foreign)
    yield from _driver(folder, about)
    if not is_promotion(sweep):
        yield from _needs(results, sweep, store)


def _written(results: Folder, about: str) -> Finding:
    """Raises StoreError."""
    name = f".probe-{uuid.uuid4().hex[:8]}"
    started = time.perf_counter()
    with contextlib.ExitStack() as stack:
        results.write(name, b"first")
        stack.callback(results.delete, name)
        reader = stack.enter_context(open(results.local / name, "rb")) if results.local else io.BytesIO(b"first")
        results.write(name, b"second")
        held = reader.read() == b"first" and results.read_bytes(name) == b"second"
    if not held:
        return Finding(about, "a file that is replaced changes under its readers", "choose another file system")
    took_s = (time.perf_counter() - started) / 2
    slow = "choose a faster disk: every configuration waits for it" if took_s > 1 else None
    return Finding(about, f"files are written whole, synced, in {1000 * took_s:.0f} ms", slow)


def _locks(results: Folder) -> bool:
    """Whether a second process would be kept out."""
    with results.lock():
        other = os.open(f"{results.path}/.lock", os.O_WRONLY)
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(other)
    return False


def _filesystem(folder: Path) -> str:
    """Its type as the kernel names it; empty where there is no /proc."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return ""
    inside = [(len(point), kind) for _, point, kind, *_ in mounts if folder.resolve().is_relative_to(point)]
    return max(inside, default=(0, ""))[1]


def _damaged(results: Folder, sweep: str) -> list[str]:
    """A line for every damaged or missing file. Raises StoreError for another schema version."""
    folder, lines = results.child(sweep), list[str]()
    segments = Segments(folder, Damage(lines.append))
    segments.live([column.name for column in schema.file_columns()])
    open_results(results, sweep, lines.append).sql("SELECT count(*) FROM runs, promotions, steering")
    Store(results, sweep, lines.append).suggested()
    report_lost(folder, Damage(lines.append))
    if "space.yaml" in folder.names() and not any("/space.yaml:" in line for line in lines):
        try:
            read_space(folder)
        except UserError as error:
            lines.append(str(error))
    return list(dict.fromkeys(lines))


def _driver(folder: Folder, about: str) -> Iterator[Finding]:
    driver = holder(folder)
    if driver is None and "lease.json" in folder.names():
        yield Finding(about, f"{folder}/lease.json cannot be read", "launch again: it is taken over after a while")
    elif driver is None:
        yield Finding(about, "no driver holds it")
    elif driver.heartbeat - time.time() > CLOCKS_S:
        yield Finding(about, f"driver: {driver}", f"set the clocks of this machine and of {driver.host} (NTP)")
    elif driver.alive():
        yield Finding(about, f"running; driver: {driver}")
        return
    else:
        yield Finding(about, f"its driver is gone: {driver}", "launch again to resume")
    inside = (folder, *map(folder.child, ("runs", "promotions", "steering")))
    left = [f"{inner}/{name}" for inner in inside for name in inner.unfinished()]
    status = Status.read(folder, Damage(lambda line: None))
    if status is not None and status.state == "finished":
        left += [f"{folder}/checkpoints/{name}" for name in folder.child("checkpoints").folders()]
    for name in left:
        yield Finding(about, f"{name} was left by a killed driver", "the next launch deletes it")


def _files(folder: Folder, pattern: str) -> list[Path]:
    return sorted(path for path in folder.local.glob(pattern) if path.is_file()) if folder.local else []


def _needs(results: Folder, sweep: str, store: Store) -> Iterator[Finding]:
    """Room for what the sweep has still to write, as far as what it has written tells."""
    folder = results.child(sweep)
    stored, status = store.trials(), Status.read(folder, Damage(lambda line: None))
    if folder.local is None or status is None or not stored:
        return
    runs = sum(path.stat().st_size for path in _files(folder, "runs/*.parquet"))
    checkpoint = max((path.stat().st_size for path in _files(folder, "*/**/*.pt")), default=0)
    places = max(1, len(status.running))
    # A checkpoint is replaced by the next one; until then both are there.
    needed = runs / len(stored) * (status.total - len(stored)) + 2 * checkpoint * places
    free = shutil.disk_usage(folder.local).free
    remedy = None if needed < free else "free some, or move the results"
    yield Finding(f"sweep {sweep}", f"about {_size(needed)} are still to be written, {_size(free)} are free", remedy)


def _size(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} TiB"
