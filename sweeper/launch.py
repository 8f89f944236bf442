"""Launch a sweep, or go on with it: ``python -m sweeper.launch search_spaces/alpha_lambda.yaml``.

The same command on a laptop, on a Ray cluster (``--address``, ``$RAY_ADDRESS``) and inside ``ray job submit``.
"""

from __future__ import annotations

import argparse
import os
import sys
import uuid
from collections.abc import Sequence
from typing import Any

from sweeper.execution import plan
from sweeper.execution.cluster import ClusterError, connected, find_address, fits, must_wait, why_waiting
from sweeper.execution.packing import Packing, largest, noted
from sweeper.execution.preflight import benchmark_of
from sweeper.execution.pruning import open_mailbox
from sweeper.execution.signals import Stopped, StopSignal
from sweeper.execution.sweep import Driver
from sweeper.execution.trial import Job
from sweeper.execution.tune import fit
from sweeper.execution.worker import Preparation, work
from sweeper.query import open_results
from sweeper.reporting import leaderboard
from sweeper.reporting.ledger import Ledger
from sweeper.search.space import Space, load_space
from sweeper.search.study import Asked
from sweeper.store.cache import Finished
from sweeper.store.folder import Folder
from sweeper.store.lease import Lease
from sweeper.store.store import Store
from sweeper.store.sweep_file import absolute_path, check_unchanged
from trainer.data.tasks import TaskStream
from trainer.errors import UserError, exit_code


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    sets = list(arguments.set)
    if arguments.trials is not None:
        sets.append(f"trials={arguments.trials}")
    if arguments.name:
        sets.append(f"name={arguments.name}")
    space = load_space(arguments.file, tuple(sets))
    path = space.base.data.path
    space = Space(space.file, space.spec, absolute_path(space.base))
    results = Folder.at(arguments.results or space.spec.results or os.environ.get("CIL_RESULTS", "results"))
    store = Store(results, space.name)
    task_stream = benchmark_of(space)
    if arguments.dry_run:
        print("\n".join(plan.lines(space, store, task_stream)))
        return 0
    results.check_writable()
    with Lease.acquire(store.folder) as lease:
        store.lease = lease
        check_unchanged(space, store.folder, path)
        if len(store.finished_trials()) >= space.spec.trials:  # no cluster is needed to say so
            return _conclude(_driver(space, store, task_stream, None))
        with connected(arguments.address):
            # After ray.init, which replaces handlers; and a signal that a parent ignores would stay ignored.
            stop = StopSignal()
            try:
                return _sweep(space, store, task_stream, stop, own_cluster=not find_address(arguments.address))
            except Stopped:
                done = len(store.finished_trials())
                _say(f"stopped: {done} of {space.spec.trials} configurations are stored; the same command goes on")
                return stop.exit_code


def _sweep(space: Space, store: Store, task_stream: TaskStream, stop: StopSignal, *, own_cluster: bool) -> int:
    resources = space.spec.resources
    room = fits(resources)
    if room == 0 and own_cluster:
        raise ClusterError(f"{why_waiting(resources)}; this command started its own cluster, on this machine")
    mailbox = f"mailbox-{uuid.uuid4().hex[:8]}" if space.spec.pruning else None
    box = open_mailbox(mailbox) if mailbox else None
    driver = _driver(space, store, task_stream, mailbox)
    concurrency = space.spec.concurrency or max(1, room)
    _say(
        f"sweep {space.name}: {space.spec.trials} configurations x {len(space.spec.seeds)} seeds, "
        f"{driver.status.done} stored already, {concurrency} at a time; results in {store.folder}"
    )
    try:
        known = noted(store.folder, resources)
        driver.packing = known or Packing(1 if resources.pack == "auto" else resources.pack)
        driver.preparation = _preparation(driver, task_stream, None if known else largest(space, concurrency))
        driver.waits(must_wait(resources))
        driver.begin()
        # On a cluster of our own nobody else holds what trials need: one that does not run is being started.
        fit(driver, work, concurrency, stop.check, lambda: None if own_cluster else why_waiting(resources))
    except Stopped:
        driver.end("stopped")
        raise
    except UserError:
        driver.end("failed")
        raise
    del box
    return _conclude(driver)


def _driver(space: Space, store: Store, task_stream: TaskStream, mailbox: str | None) -> Driver:
    job = Job(space, store.folder.path if store.folder.local else str(store.folder), mailbox)
    return Driver(job, store, len(task_stream.tasks), _say, _answers(space, store, task_stream))


def _conclude(driver: Driver) -> int:
    """Say what the sweep came to. Returns the exit code: 1 if every configuration failed."""
    status, space = driver.status, driver.space
    ended = status.done >= space.spec.trials
    driver.end("finished" if ended else "stopped")
    if not ended:  # nothing else keeps the driver from asking for all
        _say(f"the budget is spent ({_budget(space)}); with a larger one the same command goes on")
    _summary(driver)
    return 1 if status.done and status.failed == status.done else 0


def _preparation(driver: Driver, task_stream: TaskStream, most: int | None) -> Preparation | None:
    """What is missing before the first pack; ``most``: configurations of the largest one to measure, if any."""
    space, first = driver.space, driver.search.peek()
    if first is None:
        return None
    shares = space.shares_first_task() and len(task_stream.tasks) > 1
    missing = [
        c
        for c in space.configs(first.params)
        if shares and driver.job.first_task_checkpoint(c.first_task_id).read() is None
    ]
    return Preparation(first.params, most, len(missing)) if missing or most is not None else None


def _answers(space: Space, store: Store, task_stream: TaskStream) -> Any:
    """Look a configuration up in all sweeps of the results folder."""
    finished = Finished(store.folder.parent, task_stream.fingerprint, own=store.sweep, look_every_s=10)

    def answer(asked: Asked) -> list[dict[str, Any]] | None:
        configs = space.configs(asked.params)
        held = finished.find([c.run_id for c in configs])
        if any(c.run_id not in held for c in configs):
            return None
        found = []
        for config in configs:
            result = held[config.run_id]
            saved_s = (result["row"]["device_s"] or 0.0) + (result["row"]["saved_s"] or 0.0)
            result["row"] |= {"device_s": 0.0, "wall_s": 0.0, "saved_s": saved_s}
            found.append(result)
        return found

    return answer


def _summary(driver: Driver) -> None:
    store, status = driver.store, driver.status
    leaderboard.print_top(store, driver.space.spec.objective)
    _say(
        f"{status.done} of {status.total} configurations: {status.pruned} pruned, {status.diverged} diverged, "
        f"{status.failed} failed; {Ledger.of(open_results(store.folder.parent, store.sweep), store.sweep)}"
    )
    where = "" if str(store.folder.parent) == "results" else f" --results {store.folder.parent}"
    _say(f'next: python -m sweeper.query "SELECT * FROM best"{where}')
    _say(f"      python -m sweeper.promote {store.sweep}{where}")


def _budget(space: Space) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in space.spec.budget if value is not None)


def _say(line: str) -> None:
    print(line, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sweeper.launch", description="Launch a sweep, or go on with it.")
    parser.add_argument("file", help="a search-space file, such as search_spaces/alpha_lambda.yaml")
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="override a field of the file"
    )
    parser.add_argument("--trials", type=int, help="configurations in all")
    parser.add_argument("--results", help="folder or URI (default: the file's, $CIL_RESULTS, ./results)")
    parser.add_argument("--name", help="of the sweep (default: the file's name)")
    parser.add_argument("--address", help="of a Ray cluster (default: $RAY_ADDRESS, else one is started here)")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and start nothing")
    return parser


if __name__ == "__main__":
    sys.exit(exit_code(main))
