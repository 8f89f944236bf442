"""Make the best configuration of a sweep a canonical run file, where the evidence is there.

``python -m sweeper.promote SWEEP``. Three steps, each on data that the one before has not seen. The best few of the
search are trained again on fresh seeds and measured on validation images, which undoes the luck of having been
picked as the best of many. The one that leads is trained with all training images and measured on the test images
beside the incumbent (the run file of that name, or else the sweep's base) on the same seeds. It is promoted if
the paired 95 % interval of the difference lies on its side. Runs that are stored already are not trained again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sweeper import show
from sweeper.cluster import connected
from sweeper.evidence import Decision, Interval, decide
from sweeper.files import Folder
from sweeper.lease import Lease
from sweeper.query import open_results
from sweeper.rerun import rerun
from sweeper.space import Params
from sweeper.store import Store
from sweeper.sweep_file import SweepFile, absolute_path
from trainer.checkpoint import atomic_write
from trainer.config import RunConfig
from trainer.data.tasks import build
from trainer.errors import ConfigError, StoreError, UserError, exit_code
from trainer.runfile import dump_run, load_run

FIRST_SEED = 1000
"""fresh seeds count from here, past those that sweeps use"""


@dataclass(frozen=True)
class Candidate:
    """One of the best of the search."""

    trial: int
    params: Params
    searched_pct: float
    """mean over the search's seeds"""


@dataclass(frozen=True)
class Rival:
    """What the candidate has to beat."""

    name: str
    config: RunConfig
    incumbent: bool
    """whether it is a run file that would be replaced"""


@dataclass(frozen=True)
class Verdict:
    """All that was measured, and what follows."""

    query: str
    searched: int
    """configurations that the sweep has tried"""
    leader: Candidate
    rival: Rival
    metric: str
    seeds: tuple[int, ...]
    mine: list[float]
    """of the leader on test, by seed"""
    theirs: list[float]
    row: Mapping[str, Any]
    """of table trials, of one of the leader's runs"""
    threads: int

    @property
    def difference(self) -> Interval:
        return Interval.paired(self.mine, self.theirs)

    def provenance(self, sweep: str, forced: bool) -> dict[str, Any]:
        """Where the numbers of the run file come from; ``python -m trainer.run --verify`` reads it."""
        own = Interval.of(self.mine)
        return {
            "sweep": sweep,
            "trial": self.leader.trial,
            "trials": self.searched,
            "metric": self.metric,
            "split": "test",
            "seeds": list(self.seeds),
            "n": len(self.seeds),
            "mean_pct": own.mean,
            "std_pct": statistics.stdev(self.mine),
            "interval_pct": [own.low, own.high],
            "by_seed_pct": dict(zip(self.seeds, self.mine, strict=True)),
            "compared_with": {
                "name": self.rival.name,
                "config_id": self.rival.config.config_id,
                "mean_pct": statistics.fmean(self.theirs),
                "std_pct": statistics.stdev(self.theirs),
                "difference_pct": self.difference.mean,
                "difference_interval_pct": [self.difference.low, self.difference.high],
            },
            "forced": forced,
            "commit": self.row["git_commit"],
            "data_fingerprint": self.row["data_fingerprint"],
            "device": self.row["device"],
            "precision": self.row["precision"],
            "torch_threads": self.threads,
            "query": self.query,
            "promoted_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def record(self, config: RunConfig, file: Path, written: bool, decision: Decision) -> dict[str, Any]:
        """The row of table promotions."""
        return {
            "trial": self.leader.trial,
            "config_id": config.config_id,
            "name": file.stem,
            "file": str(file),
            "decision": "promoted" if written else "refused",
            "reason": decision.reason,
            "metric": self.metric,
            "split": "test",
            "seeds": list(self.seeds),
            "n": len(self.seeds),
            "mean_pct": statistics.fmean(self.mine),
            "std_pct": statistics.stdev(self.mine),
            "interval_low_pct": self.difference.low,
            "interval_high_pct": self.difference.high,
            "incumbent_config_id": self.rival.config.config_id if self.rival.incumbent else None,
            "incumbent_mean_pct": statistics.fmean(self.theirs),
            "incumbent_std_pct": statistics.stdev(self.theirs),
            "query": self.query,
            "git_commit": self.row["git_commit"],
            "data_fingerprint": self.row["data_fingerprint"],
            "decided_at": datetime.now(UTC),
        }


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    results = Folder.at(arguments.results)
    sweep = SweepFile.read(results.child(arguments.sweep))
    file = Path(arguments.runs) / f"{arguments.name or arguments.sweep}.yaml"
    rival = _rival(file, sweep)
    store = Store(results, f"{arguments.sweep}-promotion")
    with Lease.acquire(store.folder) as lease, connected(arguments.address):
        store.lease = lease
        verdict = _measure(arguments, sweep, rival, store)
    decision = decide(verdict.difference, maximize=sweep.maximize, rival=rival.name)
    config = sweep.config(verdict.leader.params, verdict.seeds[0], "test")
    written = decision.promoted or arguments.force
    if written:
        _write(file, dump_run(config, verdict.provenance(arguments.sweep, forced=not decision.promoted)))
    record = verdict.record(config, file, written, decision)
    Store(results, arguments.sweep).append("promotions", [record], f"p-{uuid.uuid4().hex[:8]}")
    if not written:
        print(f"refused: {decision.reason}\n(--force writes {file} all the same)")
        return 1
    print(f"promoted: {file}: {decision.reason}\nnext: python -m trainer.run {file} --verify")
    return 0


def _measure(arguments: argparse.Namespace, sweep: SweepFile, rival: Rival, store: Store) -> Verdict:
    metric = str(sweep.objective["metric"])
    query, candidates, searched = _candidates(arguments, sweep, metric)
    seeds = _fresh_seeds(sweep, arguments.seeds)
    fingerprint = build(absolute_path(rival.config).data, rival.config.protocol).fingerprint
    shown = f"{seeds[0]} to {seeds[-1]}"
    print(f"the best {len(candidates)} of {searched} again: fresh seeds {shown}, validation images", flush=True)
    groups = {f"trial {c.trial}": sweep.each_seed(c.params, seeds, "validation") for c in candidates}
    rows = rerun(groups, store, sweep.resources, fingerprint)
    again = {c.trial: [row[metric] for row in rows[f"trial {c.trial}"]] for c in candidates}
    pick = max if sweep.maximize else min
    leader = pick(candidates, key=lambda c: statistics.fmean(again[c.trial]))
    print(f"trial {leader.trial} leads; it and {rival.name}: all training images, test images", flush=True)
    groups = {
        f"trial {leader.trial}": sweep.each_seed(leader.params, seeds, "test"),
        rival.name: [rival.config.model_copy(update={"seed": seed}) for seed in seeds],
    }
    rows = rerun(groups, store, sweep.resources, fingerprint)
    tested = {label: [row[metric] for row in found] for label, found in rows.items()}
    mine, theirs = tested[f"trial {leader.trial}"], tested[rival.name]
    table = []
    for c in candidates:
        test = _spread(mine) if c is leader else ""
        table.append([f"trial {c.trial}", _values(c.params), f"{c.searched_pct:.2f}", _spread(again[c.trial]), test])
    table.append([rival.name, "", "", "", _spread(theirs)])
    headers = ["configuration", "values", "search", f"validation, n = {len(seeds)}", f"test, n = {len(seeds)}"]
    show.print_table(headers, table)
    row = rows[f"trial {leader.trial}"][0]
    threads = max(1, int(sweep.resources.cpu))
    return Verdict(query, searched, leader, rival, metric, seeds, mine, theirs, row, threads)


def _candidates(arguments: argparse.Namespace, sweep: SweepFile, metric: str) -> tuple[str, list[Candidate], int]:
    """The query that picks them, the best of the search, and how many were searched."""
    order = "DESC" if sweep.maximize else "ASC"
    query = (
        f"SELECT trial, params_json, {metric} AS value FROM seeds WHERE sweep = '{arguments.sweep}' AND "
        f"status = 'finished' AND {metric} IS NOT NULL ORDER BY value {order} LIMIT {arguments.top}"
    )
    results = open_results(arguments.results, arguments.sweep)
    rows = results.sql(query).arrow().to_pylist()
    candidates = [
        Candidate(r["trial"], json.loads(r["params_json"]), r["value"]) for r in rows if r["value"] is not None
    ]
    if not candidates:
        raise StoreError(f"{arguments.results}/{arguments.sweep}: no configuration has finished: nothing to promote")
    (count,) = results.sql("SELECT count(*) AS n FROM seeds").arrow()["n"].to_pylist()
    return query, candidates, count


def _rival(file: Path, sweep: SweepFile) -> Rival:
    if not file.exists():
        return Rival("the sweep's base", sweep.config({}, 0, "test"), incumbent=False)
    config = load_run(file).config
    if config.data.evaluation.split != "test":
        raise ConfigError(
            "a run file to compare with is measured on test", file=str(file), field="data.evaluation.split"
        )
    return Rival(str(file), config, incumbent=True)


def _fresh_seeds(sweep: SweepFile, n: int) -> tuple[int, ...]:
    first = max(FIRST_SEED, max(sweep.seeds) + 1)
    return tuple(range(first, first + n))


def _write(file: Path, content: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(file, content.encode())
    except OSError as error:
        raise UserError(f"{file}: cannot be written: {error.strerror}") from None


def _values(params: Params) -> str:
    return ", ".join(
        f"{name.rpartition('.')[2]} {value:.4g}" if isinstance(value, float) else f"{name.rpartition('.')[2]} {value}"
        for name, value in params.items()
    )


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.2f} ± {statistics.stdev(values):.2f}"


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
