"""Make the best configuration of a sweep a canonical run file, where the evidence is there.

``python -m sweeper.promote SWEEP``. What `promotion.candidates` has measured decides: it is promoted if the paired 95 %
interval of its difference to the incumbent (the run file of that name), or else to the sweep's base, lies on its side.
Runs that are stored already are not trained again, so an interrupted promotion goes on.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sweeper.execution.cluster import connected, must_wait
from sweeper.execution.rerun import write_status
from sweeper.execution.signals import Stopped, StopSignal
from sweeper.promotion.candidates import Verdict, measure, rival_of
from sweeper.promotion.statistics import Decision, Interval, decide
from sweeper.store.folder import Folder
from sweeper.store.lease import Lease
from sweeper.store.store import Store
from sweeper.store.sweep_file import SweepFile
from trainer.config.files import dump_run
from trainer.config.run_config import RunConfig
from trainer.errors import UserError, exit_code
from trainer.training.checkpoint import atomic_write


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    results = Folder.at(arguments.results)
    sweep = SweepFile.read(results.child(arguments.sweep))
    file = Path(arguments.runs) / f"{arguments.name or arguments.sweep}.yaml"
    rival = rival_of(file, sweep)
    store = Store(results, f"{arguments.sweep}-promotion")
    with Lease.acquire(store.folder) as lease, connected(arguments.address):
        store.lease = lease
        why = must_wait(sweep.resources)
        if why:
            print(f"waiting: {why}", flush=True)
        stop = StopSignal()  # after ray.init, which replaces handlers
        try:
            verdict = measure(sweep, rival, store, top=arguments.top, n=arguments.seeds, check_stop=stop.check)
        except Stopped:
            print("stopped: what has ended is stored; the same command goes on", flush=True)
            return stop.exit_code
        write_status(store)
    return settle(sweep, verdict, file, Store(results, sweep.name), force=arguments.force)


def settle(sweep: SweepFile, verdict: Verdict, file: Path, store: Store, *, force: bool) -> int:
    """Decide, write the run file or not, and record it in the sweep's ``store``. Returns the exit code."""
    config = sweep.config(verdict.leader.params, verdict.seeds[0], "test")
    rival = verdict.rival
    if config.config_id == rival.config.config_id:
        decision = Decision(False, f"the configuration that leads is {rival.name} itself")
    else:
        decision = decide(verdict.difference, maximize=sweep.maximize, rival=rival.name)
    written = decision.promoted or force
    if written:
        provenance = _provenance(verdict, sweep.name, forced=not decision.promoted)
        _write(file, dump_run(config, provenance), replaces=rival.content)
    store.append("promotions", [_record(verdict, config, file, written, decision)], f"p-{uuid.uuid4().hex[:8]}")
    if not written:
        print(f"refused: {decision.reason}\n(--force writes {file} all the same)")
        return 1
    print(f"{'promoted' if decision.promoted else 'forced'}: {file}: {decision.reason}")
    print(f"next: python -m trainer.run {file} --verify")
    return 0


def _provenance(verdict: Verdict, sweep: str, *, forced: bool) -> dict[str, Any]:
    """Where the numbers of the run file come from; ``python -m trainer.run --verify`` reads it."""
    own = Interval.of(verdict.mine)
    return {
        "sweep": sweep,
        "trial": verdict.leader.trial,
        "trials": verdict.searched,
        "metric": verdict.metric,
        "split": "test",
        "seeds": list(verdict.seeds),
        "n": len(verdict.seeds),
        "mean_pct": own.mean,
        "std_pct": statistics.stdev(verdict.mine),
        "interval_pct": [own.low, own.high],
        "by_seed_pct": dict(zip(verdict.seeds, verdict.mine, strict=True)),
        "compared_with": {
            "name": verdict.rival.name,
            "config_id": verdict.rival.config.config_id,
            "mean_pct": statistics.fmean(verdict.theirs),
            "std_pct": statistics.stdev(verdict.theirs),
            "difference_pct": verdict.difference.mean,
            "difference_interval_pct": [verdict.difference.low, verdict.difference.high],
        },
        "forced": forced,
        "commit": verdict.row["git_commit"],
        "data_fingerprint": verdict.row["data_fingerprint"],
        "device": verdict.row["device"],
        "precision": verdict.row["precision"],
        "torch_threads": verdict.threads,
        "query": verdict.query,
        "promoted_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _record(verdict: Verdict, config: RunConfig, file: Path, written: bool, decision: Decision) -> dict[str, Any]:
    """The row of table promotions."""
    return {
        "trial": verdict.leader.trial,
        "config_id": config.config_id,
        "name": file.stem,
        "file": str(file),
        "decision": "promoted" if written else "refused",
        "reason": decision.reason,
        "metric": verdict.metric,
        "split": "test",
        "seeds": list(verdict.seeds),
        "n": len(verdict.seeds),
        "mean_pct": statistics.fmean(verdict.mine),
        "std_pct": statistics.stdev(verdict.mine),
        "interval_low_pct": verdict.difference.low,
        "interval_high_pct": verdict.difference.high,
        "incumbent_config_id": None if verdict.rival.content is None else verdict.rival.config.config_id,
        "incumbent_mean_pct": statistics.fmean(verdict.theirs),
        "incumbent_std_pct": statistics.stdev(verdict.theirs),
        "query": verdict.query,
        "git_commit": verdict.row["git_commit"],
        "data_fingerprint": verdict.row["data_fingerprint"],
        "decided_at": datetime.now(UTC),
    }


def _write(file: Path, content: str, replaces: bytes | None) -> None:
    """Write a run file whole. Raises UserError if it is no longer what the configuration was compared with."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if (file.read_bytes() if file.exists() else None) != replaces:
            raise UserError(f"{file}: was written by another while this was measured; promote again")
        atomic_write(file, content.encode())
    except OSError as error:
        raise UserError(f"{file}: cannot be written: {error.strerror}") from None


def _at_least(smallest: int, text: str) -> int:
    value = int(text)
    if value < smallest:
        raise argparse.ArgumentTypeError(f"{value}: at least {smallest}")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sweeper.promote", description="Promote the best of a sweep.")
    parser.add_argument("sweep", help="name of a sweep")
    parser.add_argument("--results", default=os.environ.get("CIL_RESULTS", "results"), help="default: results")
    parser.add_argument("--top", type=lambda t: _at_least(1, t), default=3, help="candidates (default: 3)")
    parser.add_argument("--seeds", type=lambda t: _at_least(2, t), default=5, help="how many fresh seeds (default: 5)")
    parser.add_argument("--runs", default="runs", metavar="DIR", help="where run files are (default: runs)")
    parser.add_argument("--name", help="of the run file (default: the sweep's)")
    parser.add_argument("--force", action="store_true", help="write the run file without evidence")
    parser.add_argument("--address", help="of a Ray cluster (default: $RAY_ADDRESS, else one is started here)")
    return parser


if __name__ == "__main__":
    sys.exit(exit_code(main))
