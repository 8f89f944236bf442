"""Lose processes and nodes of a cluster at random while sweeps train, and compare them with undisturbed ones.

``python -m benchmarks.lost_nodes --kills 20``: a cluster on this machine of a head that trains nothing and two nodes of
one CPU, each with temporary files of its own. At random instants of real launches the process of a trial is killed or
told to end, a raylet is killed, or a whole node is killed, shut down, drained or stopped, to wake up once it has been
replaced. The searches are those of ``benchmarks.kills``, longer. Exit code 1 if a sweep differs from the undisturbed
one in any run.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import timing
from benchmarks.kills import SEARCHES as SHORT_SEARCHES
from benchmarks.kills import ancestors, compare, space_file, trial_processes
from sweeper.execution.cluster import use_fresh_token
from sweeper.execution.notice import DRAINED, TOLD_TO_END
from sweeper.store.store import Store
from trainer.command import at_least
from trainer.errors import exit_code

PROMPT = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 3000,
    "health_check_failure_threshold": 3,
}
"""settings of Ray with which a lost node is noticed within seconds"""
SEARCHES: dict[str, dict[str, Any]] = {
    name: {**search, "set": {**search["set"], "optim.epochs": 12, "optim.milestones": [10]}, "trials": trials}
    for (name, search), trials in zip(SHORT_SEARCHES.items(), (24, 16), strict=True)
}
_ROOT = Path(__file__).parents[1]
_NODES = 2
_KILLS_A_SWEEP = 5
_PATIENCE_S = 300
_NOTICED_S = 60
"""time in which a launch says what it has lost"""
_DRAINED_S = 30
"""notice that a drained node is given"""


Cluster = Any
"""ray.cluster_utils.Cluster"""


class Victim(NamedTuple):
    """A node, and the process of a trial on it."""

    cluster: Cluster
    node: Any
    trial: int

    @property
    def raylet(self) -> int:
        return raylet_pid(self.node)


# -- what is done to it --------------------------------------------------------------------------------


def kill_process(victim: Victim) -> None:
    os.kill(victim.trial, signal.SIGKILL)


def end_process(victim: Victim) -> None:
    os.kill(victim.trial, signal.SIGTERM)


def kill_raylet(victim: Victim) -> None:
    """The trial runs on until Ray notices."""
    os.kill(victim.raylet, signal.SIGKILL)


def kill_node(victim: Victim) -> None:
    _send(victim, signal.SIGKILL)


def shut_down_node(victim: Victim) -> None:
    """Tell every process to end, as an operating system does that shuts down."""
    _send(victim, signal.SIGTERM)


def stop_node(victim: Victim) -> None:
    _send(victim, signal.SIGSTOP)


def drain_node(victim: Victim) -> None:
    """Have Ray drain it, as for a spot machine that is taken back."""
    ray = str(Path(sys.executable).with_name("ray"))
    words = [ray, "drain-node", "--address", victim.cluster.address, "--node-id", node_id(victim.cluster, victim.node)]
    words += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot machine"]
    subprocess.run([*words, "--deadline-remaining-seconds", str(_DRAINED_S)], capture_output=True, check=True)


HARMS: dict[str, Callable[[Victim], None]] = {
    "process killed": kill_process,
    "process told to end": end_process,
    "raylet killed": kill_raylet,
    "node killed": kill_node,
    "node shut down": shut_down_node,
    "node drained": drain_node,
    "node stopped": stop_node,
}
_OF_A_PROCESS = (kill_process, end_process)


def _send(victim: Victim, number: signal.Signals) -> None:
    """To the raylet first: it would replace processes that end."""
    for pid in family(victim.raylet):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


# -- the cluster ---------------------------------------------------------------------------------------


def raylet_pid(node: Any) -> int:
    (raylet,) = node.all_processes["raylet"]
    return int(raylet.process.pid)


def node_id(cluster: Cluster, node: Any) -> str:
    """Ray's name of the node."""
    rows = cluster.global_state.node_table()
    return next(str(row["NodeID"]) for row in rows if row["RayletSocketName"] == node.raylet_socket_name)


def family(pid: int) -> list[int]:
    """The process and all that descend from it."""
    others = (int(path.name) for path in Path("/proc").glob("[0-9]*"))
    return [pid, *(other for other in others if pid in ancestors(other))]


@contextlib.contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    from ray import cluster_utils  # noqa: PLC0415  (once sweeper.execution has set how Ray authenticates)

    use_fresh_token()
    head = {"num_cpus": 0, "include_dashboard": False, "_system_config": dict(PROMPT), "temp_dir": str(folder / "head")}
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    try:
        yield cluster
    finally:
        cluster.shutdown()


def add_node(cluster: Cluster, folder: Path) -> None:
    """One CPU, with temporary files of its own: nodes of one machine would share them."""
    cluster.add_node(num_cpus=1, temp_dir=tempfile.mkdtemp(dir=folder))


def replace_node(victim: Victim, folder: Path, processes: Sequence[int], alongside_s: float) -> None:
    """Give the cluster another node, and end the lost one, and what still runs of it, a while later.

    ``processes``: pidfds of all that it had; ``alongside_s``: for so long its trial can do harm.
    """
    add_node(victim.cluster, folder)
    for process in processes:  # one that was stopped: its trial resumes too
        _signal(process, signal.SIGCONT)
    time.sleep(alongside_s)
    for process in processes:
        _signal(process, signal.SIGKILL)
        os.close(process)
    victim.cluster.remove_node(victim.node, allow_graceful=False)


def _signal(process: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(process, number)


def _opened(pids: Sequence[int]) -> Iterator[int]:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            yield os.pidfd_open(pid)


# -- sweeps --------------------------------------------------------------------------------------------


class Launched:
    """A launch on the cluster, and the lines that it prints."""

    def __init__(self, file: Path, results: Path, cluster: Cluster) -> None:
        self.cluster, self._results, self._search = cluster, results, file.stem
        self._output = results.with_suffix(".txt")
        words = [sys.executable, "-m", "sweeper.launch", str(file), "--results", str(results)]
        with open(self._output, "w") as output:
            words += ["--address", cluster.address]
            self.process = subprocess.Popen(words, cwd=_ROOT, stdout=output, stderr=subprocess.STDOUT)

    def output(self) -> str:
        return self._output.read_text()

    def stored(self) -> int:
        """Configurations that are stored by now."""
        return len(Store(self._results, self._search).trials())

    def end(self) -> None:
        """Wait for it to finish. Raises RuntimeError, with what it printed, if it does not."""
        if self.process.wait(_PATIENCE_S):
            raise RuntimeError(self.output())

    def find_victim(self, rng: random.Random) -> Victim | None:
        """A node that trains, once there is one; None if the launch ends."""
        while self.process.poll() is None:
            trials = [(pid, node) for node in self.cluster.worker_nodes for pid in trial_processes(raylet_pid(node))]
            if trials:
                pid, node = rng.choice(sorted(trials, key=lambda trial: trial[0]))
                return Victim(self.cluster, node, pid)
            time.sleep(0.1)
        return None

    def until_noticed(self, before: int) -> str | None:
        """The line, behind ``before`` characters, that says what it has lost; None if that was no trial any more."""
        deadline = time.monotonic() + _NOTICED_S
        while self.process.poll() is None and time.monotonic() < deadline:
            for line in self.output()[before:].splitlines():
                if "; resuming from " in line or line.endswith("; retrying"):
                    return line
            time.sleep(0.05)
        return None


def lose(
    harm: str, launched: Launched, folder: Path, rng: random.Random, alongside_s: float = 10.0
) -> dict[str, Any] | None:
    """Do harm to a node that trains, and replace it; what that came to, or None if the launch ended before.

    ``alongside_s``: so long a lost node runs on beside the one that replaces it.
    """
    victim = launched.find_victim(rng)
    if victim is None:
        return None
    stored, before = launched.stored(), len(launched.output())
    processes = list(_opened(family(victim.raylet)))
    try:
        HARMS[harm](victim)
    except ProcessLookupError:  # the trial has just ended
        return lose(harm, launched, folder, rng, alongside_s)
    begun = time.monotonic()
    line = launched.until_noticed(before)
    noticed_s = None if line is None else round(time.monotonic() - begun, 2)
    in_time = line is not None and (TOLD_TO_END in line or DRAINED in line)
    if HARMS[harm] not in _OF_A_PROCESS:
        replace_node(victim, folder, processes, alongside_s)
    return {"harm": harm, "stored": stored, "noticed_s": noticed_s, "in_time": in_time}


def disturbed_sweep(
    launched: Launched, folder: Path, harms: Sequence[str], training_s: float, rng: random.Random
) -> list[dict[str, Any]]:
    """Run a sweep to its end, through all of the harms that come before it; what each came to.

    ``training_s``: what it takes undisturbed.
    """
    found: list[dict[str, Any]] = []
    for harm in harms:
        wait_s = rng.uniform(0, training_s / len(harms))
        with contextlib.suppress(subprocess.TimeoutExpired):
            launched.process.wait(wait_s)
        lost = lose(harm, launched, folder, rng)
        if lost is None:
            break
        found.append({**lost, "after_s": round(wait_s, 2)})
        print(f"  {found[-1]}", flush=True)
    launched.end()
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = timing.parser("lost_nodes", "Lose processes and nodes of a cluster, and compare sweeps.", run_file=False)
    parser.add_argument("--kills", type=at_least(1), default=20, help="default: %(default)s")
    parser.add_argument(
        "--seed", type=at_least(0), default=0, help="seed of the instants and victims (default: %(default)s)"
    )
    arguments = parser.parse_args(argv)
    rng, deck, lost, lines = random.Random(arguments.seed), list[str](), list[dict[str, Any]](), list[str]()
    with tempfile.TemporaryDirectory() as name, running_cluster(Path(name)) as cluster:
        folder = Path(name)
        for _ in range(_NODES):
            add_node(cluster, folder)
        files = {search: space_file(folder, search, SEARCHES) for search in SEARCHES}
        # Sweeps of one results folder would answer each other's runs from the store.
        took_s = {search: _undisturbed(file, folder / f"whole-{search}", cluster) for search, file in files.items()}
        while len(lost) < arguments.kills:
            search = list(files)[len(lines) % len(files)]
            wanted = min(_KILLS_A_SWEEP, arguments.kills - len(lost))
            while len(deck) < wanted:  # every kind comes as often as every other
                deck += rng.sample(sorted(HARMS), len(HARMS))
            results = folder / f"disturbed-{len(lines)}"
            own = disturbed_sweep(Launched(files[search], results, cluster), folder, deck[:wanted], took_s[search], rng)
            deck = deck[len(own) :]
            differences = compare(results / search, folder / f"whole-{search}" / search)
            lost += [{**kill, "search": search, "held": not differences} for kill in own]
            what = ", ".join(f"{kill['harm']} with {kill['stored']} stored" for kill in own)
            lines.append(f"- {search}: {what}: {'; '.join(differences) or 'the same'}")
            print(lines[-1], flush=True)
    headers = ("what was lost", "tried", "held", "checkpoint first", "noticed after s: median (least to most)")
    about = (
        f"{len(lost)} processes and nodes lost at random instants of {len(lines)} sweeps of digits, on a cluster of a "
        f"head and {_NODES} nodes of one CPU on one machine. One is held if its sweep ended with every configuration "
        "finished or pruned once and equal to the undisturbed one in parameters, outcomes and accuracies, to the last "
        "digit. The fourth column counts the trials that wrote a checkpoint and said so before they ended. "
        f"The driver named {sum(one['noticed_s'] is not None for one in lost)} of the losses, which the last column is "
        "of; the others interrupted nothing. "
        f"Ray's health checks: {', '.join(f'{name} {value}' for name, value in PROMPT.items())}."
    )
    command = f"python -m benchmarks.lost_nodes --kills {arguments.kills} --seed {arguments.seed}"
    content = {
        "command": command,
        "lost": lost,
        "searches": SEARCHES,
        "health_checks": PROMPT,
    }
    timing.publish(arguments.name, [about, f"`{command}`", "\n".join(lines)], headers, _rows(lost), content)
    return 0 if all(kill["held"] for kill in lost) else 1


def _rows(lost: Sequence[dict[str, Any]]) -> list[list[str]]:
    rows = []
    for harm in HARMS:
        own = [kill for kill in lost if kill["harm"] == harm]
        noticed_s = [kill["noticed_s"] for kill in own if kill["noticed_s"] is not None]
        in_time = str(sum(kill["in_time"] for kill in own))
        after = timing.median_and_range(noticed_s) if noticed_s else "-"
        rows.append([harm, str(len(own)), str(sum(kill["held"] for kill in own)), in_time, after])
    return rows


def _undisturbed(file: Path, results: Path, cluster: Cluster) -> float:
    """Launch the sweep; seconds from its first trial to its end."""
    launched = Launched(file, results, cluster)
    launched.find_victim(random.Random(0))
    begun = time.monotonic()
    launched.end()
    found = time.monotonic() - begun
    print(f"{file.stem}: undisturbed, {found:.0f} s from the first trial", flush=True)
    return found


if __name__ == "__main__":
    sys.exit(exit_code(main))
