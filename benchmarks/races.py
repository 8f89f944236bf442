"""Launch one sweep twice at one instant, again and again: one launch drives it, and the other one changes nothing.

``python -m benchmarks.races --races 50``: 50 times on a disk and 50 times on an S3 server, both commands are started
together and kept back where they take the lease, until both are there; then they are let go. On the disk the lock of
the lease's file keeps them back, on S3 the server. The loser must end with exit code 2 and one line that says who
drives. What it has changed is known on S3 from its requests, as each launch has credentials of its own, and on the disk
because the winner is stopped (SIGSTOP) until the loser has ended. In the end every configuration must be stored once.
Exit code 1 if anything of this does not hold.
"""

import contextlib
import fcntl
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import yaml

from benchmarks import timing
from benchmarks.s3_server import BUCKET, Request, s3_server
from sweeper.execution.cluster import connected
from sweeper.store.folder import Folder
from sweeper.store.lease import FILE, holder
from sweeper.store.store import Store
from trainer.command import at_least
from trainer.errors import exit_code
from trainer.words import format_count

SWEEP, TRIALS = "s", 2
SPACE: dict[str, Any] = {
    "base": str(Path(__file__).parents[1] / "runs" / "digits_lfs5.yaml"),
    "set": {"optim.epochs": 1, "optim.milestones": [], "data.imbalance.max_per_class": 20},
    "vary": {"method.alpha": {"type": "float", "low": 0.05, "high": 10.0, "log": True}},
    "search": {"sampler": "RandomSampler", "seed": 1},
    "seeds": [0],
    "trials": TRIALS,
    "resources": {"cpu": 1, "pack": TRIALS},
    "name": SWEEP,
}
RACERS = ("first", "second")
"""in the order in which they are started"""
_PATIENCE_S = 300

Launches = Mapping[str, subprocess.Popen[str]]
"""by racer"""


class Race(NamedTuple):
    """What came of two launches."""

    winner: str | None
    apart_s: float
    """between the arrivals of the two at the lease"""
    faults: list[str]


class Place(Protocol):
    """A place for results that keeps launches back at the lease."""

    def results(self, number: int) -> dict[str, str]:
        """The results folder of a race, as each racer is given it."""

    def arrivals(self, launches: Launches) -> dict[str, float]:
        """When each of the launches has come to the lease, so far."""

    def let_go(self) -> None:
        """Let them take the lease."""

    def changed_by_loser(self, launches: Launches) -> list[str]:
        """What the launch that has not got the lease has changed, once it has ended."""


class Disk:
    """A folder. The lock of the lease's file is kept until all wait for it."""

    def __init__(self, folder: Path) -> None:
        self._above, self._folder = folder, folder
        self._arrived: dict[str, float] = {}

    def results(self, number: int) -> dict[str, str]:
        self._folder, self._arrived = self._above / str(number), {}
        (self._folder / SWEEP).mkdir(parents=True)
        self._lock = os.open(self._folder / SWEEP / f".{FILE}.lock", os.O_WRONLY | os.O_CREAT)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        return dict.fromkeys(RACERS, str(self._folder))

    def arrivals(self, launches: Launches) -> dict[str, float]:
        for racer, process in launches.items():
            if racer not in self._arrived and self._waits(process.pid):
                self._arrived[racer] = time.monotonic()
        return self._arrived

    def let_go(self) -> None:
        fcntl.flock(self._lock, fcntl.LOCK_UN)

    def changed_by_loser(self, launches: Launches) -> list[str]:
        sweep = Folder.at(self._folder).child(SWEEP)
        _until(lambda: holder(sweep) is not None, launches)
        driver = holder(sweep)
        assert driver is not None
        fcntl.flock(self._lock, fcntl.LOCK_EX)  # so that the driver does not have it while it stands still
        os.kill(driver.pid, signal.SIGSTOP)
        os.close(self._lock)
        try:
            before = self._content()
            for process in launches.values():
                if process.pid != driver.pid:
                    process.wait(_PATIENCE_S)
            return sorted({name for name, _ in before ^ self._content()})
        finally:
            os.kill(driver.pid, signal.SIGCONT)

    def _content(self) -> set[tuple[str, bytes | None]]:
        found = self._folder.rglob("*")
        return {(str(path), path.read_bytes() if path.is_file() else None) for path in found}

    def _waits(self, pid: int) -> bool:
        """Whether a process has opened the lock."""
        own = os.fstat(self._lock)
        with contextlib.suppress(FileNotFoundError):  # it has just closed a file
            return any(os.path.samestat(file.stat(), own) for file in Path(f"/proc/{pid}/fd").iterdir())
        return False


class Bucket:
    """A bucket of an S3 server. The requests by which a lease is taken are kept back until all have come."""

    def __init__(self) -> None:
        self.address = ""
        self._arrived: dict[str, float] = {}
        self._changes: dict[str, list[str]] = {}
        """by racer"""
        self._go = threading.Event()

    def before(self, request: Request) -> None:
        """See, and perhaps keep back, a request to the server."""
        racer = next((name for name in RACERS if f"={name}/" in request.get("HTTP_AUTHORIZATION", "")), None)
        if racer is None or request["REQUEST_METHOD"] in ("GET", "HEAD"):
            return
        if request["PATH_INFO"].endswith(f"/{FILE}") and "HTTP_IF_NONE_MATCH" in request:
            self._arrived.setdefault(racer, time.monotonic())
            self._go.wait(_PATIENCE_S)
        else:
            self._changes[racer].append(f"{request['REQUEST_METHOD']} {request['PATH_INFO']}")

    def results(self, number: int) -> dict[str, str]:
        self._arrived, self._changes = {}, {racer: [] for racer in RACERS}
        self._go.clear()
        where = f"{BUCKET}/{number}?endpoint_override={self.address}&scheme=http&region=us-east-1"
        return {racer: f"s3://{racer}:secret@{where}" for racer in RACERS}

    def arrivals(self, launches: Launches) -> dict[str, float]:
        return self._arrived

    def let_go(self) -> None:
        self._go.set()

    def changed_by_loser(self, launches: Launches) -> list[str]:
        ended: list[str] = []
        while not ended:
            ended = [racer for racer, process in launches.items() if process.poll() is not None]
            time.sleep(0.01)
        return self._changes[ended[0]]


def race(place: Place, number: int, file: Path) -> Race:
    """Launch a sweep twice; what came of it."""
    results = place.results(number)
    launches = {racer: _launch(file, results[racer]) for racer in RACERS}
    _until(lambda: len(place.arrivals(launches)) == len(RACERS), launches)
    arrived = place.arrivals(launches)
    place.let_go()
    changed = place.changed_by_loser(launches)
    said = {racer: process.communicate(timeout=_PATIENCE_S)[0] for racer, process in launches.items()}
    codes = {racer: process.returncode for racer, process in launches.items()}
    winner, loser = sorted(RACERS, key=codes.__getitem__)
    found = [f"the loser changed {one}" for one in changed]
    if (codes[winner], codes[loser]) != (0, 2):
        found.append(f"exit codes {codes}: {said}")
    refused = [line for line in said[loser].splitlines() if not line.startswith("reading ")]
    says_who = f"this sweep is already running: host .*, pid {launches[winner].pid}, "
    if len(refused) != 1 or not re.search(says_who, refused[0]):
        found.append(f"the loser said: {said[loser]}")
    store = Store(results[winner], SWEEP)
    stored = sorted(store.read(["trial"])["trial"].to_pylist())
    if stored != list(range(TRIALS)):
        found.append(f"configurations stored: {stored}")
    if holder(store.folder) is not None:
        found.append("the lease is still there")
    for line in found:
        print(f"race {number}: {line}", flush=True)
    return Race(winner if codes[winner] == 0 else None, max(arrived.values()) - min(arrived.values()), found)


def _launch(file: Path, results: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "sweeper.launch", str(file), "--results", results]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _until(happened: Callable[[], bool], launches: Launches) -> None:
    """Raises RuntimeError, with what a launch has printed, if it ends before."""
    while not happened():
        for process in launches.values():
            if process.poll() is not None:
                raise RuntimeError(process.communicate()[0])
        time.sleep(0.002)


def main(argv: Sequence[str] | None = None) -> int:
    parser = timing.parser("races", "Launch one sweep twice at one instant.", run_file=False)
    parser.add_argument("--races", type=at_least(1), default=50, help="on a disk and on S3 each (default: %(default)s)")
    arguments = parser.parse_args(argv)
    kept: dict[str, list[Race]] = {}
    with tempfile.TemporaryDirectory() as folder, connected(None) as address:
        # One cluster for all, as the race is over before a launch needs one. Its processes have this code.
        os.environ |= {"RAY_ADDRESS": address, "RAY_JOB_CONFIG_JSON_ENV_VAR": "{}"}
        file = Path(folder) / "s.yaml"
        file.write_text(yaml.safe_dump(SPACE))
        for name, place in _places(Path(folder)):
            kept[name] = [race(place, number, file) for number in range(arguments.races)]
    rows = [
        [
            name,
            str(len(own)),
            *(str(sum(one.winner == racer for one in own)) for racer in RACERS),
            timing.median_and_range([1000 * one.apart_s for one in own]),
            str(sum(not one.faults for one in own)),
        ]
        for name, own in kept.items()
    ]
    about = (
        f"Two launches of one sweep of {format_count(TRIALS, 'configuration')}, started together and let go together "
        "where they take the lease. A race has held if one launch drove the sweep to its end, the other one ended with "
        "exit code 2 and one line that names the driver, and changed nothing, and every configuration is stored once. "
        "The S3 server is moto's, on loopback."
    )
    headers = ("results on", "races", "the first won", "the second won", "arrivals apart, ms", "held")
    content = {name: [one._asdict() for one in own] for name, own in kept.items()}
    timing.publish(arguments.name, [about], headers, rows, {"races": content})
    return 1 if any(one.faults for own in kept.values() for one in own) else 0


def _places(folder: Path) -> Iterator[tuple[str, Place]]:
    yield "a disk", Disk(folder / "disk")
    bucket = Bucket()
    with s3_server(bucket.before) as bucket.address:
        yield "S3", bucket


if __name__ == "__main__":
    sys.exit(exit_code(main))
