"""How long a command takes until it answers: ``python -m benchmarks.startup``.

Each is started anew, in turn, on a results folder of one sweep. CPU seconds tell what it costs on an idle machine; the
least wall time comes close to it.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.record import record
from sweeper.store.status_file import Status
from sweeper.store.store import Store
from trainer import tables
from trainer.command import Parser, at_least
from trainer.config.run_config import RunConfig
from trainer.errors import exit_code
from trainer.methods.base import METHODS
from trainer.results.history import failed_result

LIMITS_S = {
    "--help": 0.5,
    "--version": 0.5,
    "run --help": 0.5,
    "promote --help": 0.5,
    "status": 0.5,
    "query FROM runs": 0.8,
    "launch missing.yaml": 1.0,
    "run missing.yaml": 1.0,
    "launch runs/digits_lfs5.yaml": 1.0,
    "launch search_spaces/digits.yaml": 1.0,
}
"""commands, and what each may take until its end, or until the first line of the launch that starts"""
_STARTS = "launch search_spaces/digits.yaml"


class Start(NamedTuple):
    """One start: wall seconds until the first line and until the end, and CPU seconds of all."""

    first_line_s: float
    end_s: float
    cpu_s: float


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m benchmarks.startup", description="Time until commands answer.")
    parser.add_argument("--rounds", type=at_least(1), default=5, help="starts of each command (default: %(default)s)")
    parser.add_argument("--name", help="also write the results to results/NAME.json and .md")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder, "digits")
        failed = failed_result(RunConfig(method=METHODS.find("finetune")()), "made up")
        store.finish_trial(0, [failed], attempt="a")
        Status(total=1, done=1, failed=1, state="finished").write(store.folder)
        starts: dict[str, list[Start]] = {command: [] for command in LIMITS_S}
        for _ in range(arguments.rounds):
            for command, found in starts.items():
                found.append(_start(command, folder))
    rows = [_row(command, found) for command, found in starts.items()]
    headers = ("command", "until", "wall s: median (least to most)", "CPU s: median", "limit s")
    tables.print_table(headers, rows)
    if arguments.name:
        content = {
            "rounds": arguments.rounds,
            "starts": {c: [s._asdict() for s in found] for c, found in starts.items()},
        }
        table = "\n".join(f"| {' | '.join(row)} |" for row in (headers, ["---"] * len(headers), *rows))
        load = f"load average of the machine: {os.getloadavg()[0]:.1f}"
        about = f"Time until `cil` answers, {arguments.rounds} starts of each command in turn; {load}."
        record(arguments.name, content, [about, table])
    return 0


def _row(command: str, found: Sequence[Start]) -> list[str]:
    launched = command == _STARTS
    wall_s = [start.first_line_s if launched else start.end_s for start in found]
    return [
        f"cil {command}",
        "first line" if launched else "end",
        f"{statistics.median(wall_s):.2f} ({min(wall_s):.2f} to {max(wall_s):.2f})",
        "" if launched else f"{statistics.median(start.cpu_s for start in found):.2f}",
        f"{LIMITS_S[command]:g}",
    ]


def _start(command: str, results: str) -> Start:
    name, _, rest = command.partition(" ")
    words = [sys.executable, "-m", "sweeper.cil", name, *([rest] if rest else [])]
    before, started = _children_s(), time.perf_counter()
    root = Path(__file__).parents[1]
    with subprocess.Popen(
        words, cwd=root, env=os.environ | {"CIL_RESULTS": results}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        first_line_s = time.perf_counter() - started
        if command == _STARTS:
            process.kill()
        process.stdout.read()
        process.wait()
    return Start(first_line_s, time.perf_counter() - started, _children_s() - before)


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(exit_code(main))
