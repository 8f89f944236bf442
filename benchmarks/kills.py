"""Kill sweeps at random instants, resume them, and compare what they store with undisturbed ones.

``python -m benchmarks.kills --kills 20``: real launches, each on a cluster of its own. SIGKILL hits the driver, which
is then launched again, or the process of a trial, which is then replaced. Two searches take turns: one that is
exact with any number of trials at a time, and one whose sampler and pruner read outcomes, which is exact with one trial
at a time and packs of one configuration. Exit code 1 if a sweep differs from the undisturbed one in any run.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from benchmarks import same_sweep, timing
from sweeper.store.store import Store
from trainer.command import at_least
from trainer.errors import exit_code


class Seconds(NamedTuple):
    """What an undisturbed launch takes."""

    start: float
    """to the first trial"""
    training: float
    """from there to the end"""


DRIVER, TRIAL = "driver", "trial"
_KILLS_A_SWEEP = 5
_PATIENCE_S = 300

_DIGITS: dict[str, Any] = {
    "base": "runs/digits_lfs5.yaml",
    "set": {"optim.epochs": 6, "optim.milestones": [5], "data.imbalance.max_per_class": 40},
    "vary": {
        "method.alpha": {"type": "float", "low": 0.05, "high": 10.0, "log": True},
        "method.lambda": {"type": "float", "low": 0.05, "high": 5.0, "log": True},
    },
    "seeds": [0, 1],
    "retries": 0,
}
SEARCHES: dict[str, dict[str, Any]] = {
    "parallel": {
        **_DIGITS,
        "search": {"sampler": "RandomSampler", "seed": 1},
        "resources": {"cpu": 1, "pack": 2},
        "trials": 16,
    },
    "sequential": {
        **_DIGITS,
        "search": {"sampler": "TPESampler", "seed": 1, "options": {"n_startup_trials": 3}},
        "pruning": {"pruner": "SuccessiveHalvingPruner", "options": {"min_resource": 1, "reduction_factor": 2}},
        "resources": {"cpu": 1, "pack": 1},
        "concurrency": 1,
        "trials": 10,
    },
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = timing.parser("kills", "Kill sweeps at random instants and compare them.", run_file=False)
    parser.add_argument("--kills", type=at_least(1), default=20, help="default: %(default)s")
    parser.add_argument(
        "--seed", type=at_least(0), default=0, help="seed of the instants and victims (default: %(default)s)"
    )
    arguments = parser.parse_args(argv)
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        files = {name: space_file(root, name) for name in SEARCHES}
        # Sweeps of one results folder would answer each other's runs from the store.
        took_s = {name: _undisturbed(file, root / f"whole-{name}") for name, file in files.items()}
        rows, kills = [], list[dict[str, Any]]()
        while len(kills) < arguments.kills:
            name = list(files)[len(rows) % len(files)]
            results = root / f"killed-{len(rows)}"
            wanted = min(_KILLS_A_SWEEP, arguments.kills - len(kills))
            own = killed_sweep(files[name], results, rng, took_s[name], wanted)
            kills += [{**kill, "search": name} for kill in own]
            differences = compare(results / name, root / f"whole-{name}" / name)
            print(f"{name}: {_in_words(own)}: {'; '.join(differences) or 'the same'}", flush=True)
            stored = ", ".join(str(kill["stored"]) for kill in own)
            rows.append([name, _in_words(own), stored, "; ".join(differences) or "none"])
    about = (
        f"{len(kills)} kills with SIGKILL at uniformly random instants of {len(rows)} sweeps of digits "
        f"({_in_words(kills)}); every difference to an undisturbed launch in trials, seeds, parameters, outcomes and "
        "accuracies, which are compared to the last digit."
    )
    headers = ("search", "killed", "configurations stored by then", "differences")
    command = f"python -m benchmarks.kills --kills {arguments.kills} --seed {arguments.seed}"
    content = {"command": command, "kills": kills, "searches": SEARCHES}
    timing.publish(arguments.name, [about, f"`{command}`"], headers, rows, content)
    return 1 if any(row[-1] != "none" for row in rows) else 0


def killed_sweep(
    file: Path, results: Path, rng: random.Random, undisturbed: Seconds, kills: int
) -> list[dict[str, Any]]:
    """Run a sweep to its end through up to ``kills`` kills; what was killed when, and what was stored by then.

    One kill in four hits the driver as it starts, the others the driver or a trial during training. A sweep that ends
    before the next instant has fewer kills.
    """
    found: list[dict[str, Any]] = []
    process = _launch(file, results)
    while len(found) < kills:
        starting = rng.random() < 0.25
        victim = DRIVER if starting else rng.choice((DRIVER, TRIAL))
        wait_s = rng.uniform(0, undisturbed.start if starting else undisturbed.training)
        if not starting:
            _until_trained(process)
        try:
            process.wait(wait_s)
            break
        except subprocess.TimeoutExpired:
            pass
        trials = trial_processes(process.pid)
        if victim == TRIAL and not trials:
            continue
        try:
            os.kill(rng.choice(trials) if victim == TRIAL else process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        when = "start" if starting else "training"
        if victim == DRIVER:
            process.communicate()
        stored = len(Store(results, file.stem).trials())
        found.append({"victim": victim, "during": when, "after_s": round(wait_s, 2), "stored": stored})
        if victim == DRIVER:
            process = _launch(file, results)
    _end(process)
    return found


def compare(killed: Path, whole: Path) -> list[str]:
    """What keeps two stored sweeps from being the same."""
    space, first = same_sweep.read(str(killed))
    _, second = same_sweep.read(str(whole))
    return same_sweep.differences(space, first, second)


def trial_processes(driver: int) -> list[int]:
    """Pids of the trials of this driver's own cluster; different clusters of this machine are left alone."""
    found = subprocess.run(["pgrep", "-f", "ray::Trial"], capture_output=True, text=True, check=False)
    return [pid for pid in map(int, found.stdout.split()) if driver in ancestors(pid)]


def ancestors(pid: int) -> list[int]:
    found = []
    while pid > 1:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except FileNotFoundError:
            break
        pid = int(stat.rpartition(")")[2].split()[1])
        found.append(pid)
    return found


def space_file(folder: Path, name: str, searches: Mapping[str, Any] = SEARCHES) -> Path:
    """The search-space file of one of the searches."""
    file = folder / f"{name}.yaml"
    base = Path(__file__).parents[1] / searches[name]["base"]
    file.write_text(yaml.safe_dump({**searches[name], "base": str(base)}))
    return file


def _launch(file: Path, results: Path) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "sweeper.launch", str(file), "--results", str(results)]
    alone = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return subprocess.Popen(words, env=alone, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _end(process: subprocess.Popen[str]) -> None:
    """Wait for a launch to finish. Raises RuntimeError, with what it printed, if it does not."""
    output, _ = process.communicate(timeout=_PATIENCE_S)
    if process.returncode:
        raise RuntimeError(output)


def _until_trained(process: subprocess.Popen[str]) -> None:
    """Wait until a launch has a trial, or has ended."""
    while process.poll() is None and not trial_processes(process.pid):
        time.sleep(0.1)


def _undisturbed(file: Path, results: Path) -> Seconds:
    """Launch the sweep, and time it."""
    begun = time.perf_counter()
    process = _launch(file, results)
    _until_trained(process)
    trained = time.perf_counter()
    _end(process)
    found = Seconds(trained - begun, time.perf_counter() - trained)
    print(
        f"{file.stem}: undisturbed, {found.start:.0f} s to the first trial, {found.training:.0f} s from there",
        flush=True,
    )
    return found


def _in_words(kills: Sequence[dict[str, Any]]) -> str:
    victims = [kill["victim"] for kill in kills]
    return f"driver {victims.count(DRIVER)} times, a trial's process {victims.count(TRIAL)} times"


if __name__ == "__main__":
    sys.exit(exit_code(main))
