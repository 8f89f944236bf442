"""The best of a search against what is there: fresh seeds on validation images, then, for one of them, on test images.

What decides has not been picked for being high: the best few of the search run again to undo the luck of having been
the best of many, and only the one that then leads is measured on the test images, on seeds that are fresh once more.
To choose among several on the test images would be to search on them.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeper.execution.rerun import RerunError, rerun
from sweeper.promotion.statistics import Interval, check_comparable
from sweeper.query import open_results
from sweeper.reporting import tables as show
from sweeper.reporting.leaderboard import values as shown
from sweeper.search.space import Params
from sweeper.store.folder import Folder
from sweeper.store.store import Store
from sweeper.store.sweep_file import SweepFile, absolute_path
from trainer.config.files import load_run
from trainer.config.run_config import RunConfig
from trainer.data.tasks import build
from trainer.errors import ConfigError, StoreError
from trainer.results.spread import over_seeds

VALIDATION_SEEDS, TEST_SEEDS = 1000, 2000
"""where the fresh seeds of both steps begin, past those that sweeps use; more seeds go on with the same ones"""

BASE = "the sweep's base"


@dataclass(frozen=True, eq=False)
class Candidate:
    """One of the best of the search."""

    trial: int
    params: Params
    searched_pct: float
    """mean over the search's seeds"""

    @property
    def label(self) -> str:
        return f"trial {self.trial}"


@dataclass(frozen=True)
class Rival:
    """What the candidate has to beat."""

    name: str
    config: RunConfig
    content: bytes | None
    """of the run file that would be replaced; None where the rival is the sweep's base"""


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
    """of the test"""
    mine: list[float]
    """of the leader on test, by seed"""
    theirs: list[float]
    row: Mapping[str, Any]
    """of table trials, of one of the leader's runs"""
    threads: int

    @property
    def difference(self) -> Interval:
        return Interval.paired(self.mine, self.theirs)


def measure(
    sweep: SweepFile,
    rival: Rival,
    store: Store,
    *,
    top: int,
    n: int,
    check_stop: Callable[[], None] = lambda: None,
) -> Verdict:
    """Train the ``top`` of the search and the rival on ``n`` fresh seeds each, as the head of this file says.

    ``check_stop`` raises when it is to stop.
    """
    metric = str(sweep.objective["metric"])
    query, candidates, searched = _candidates(sweep, store.folder.parent, metric, top)
    for c in candidates:
        check_comparable(sweep.config(c.params, 0, "test"), rival.config, file=rival.name, beside="the sweep")
    fingerprint = build(absolute_path(rival.config).data, rival.config.protocol).fingerprint

    def say(line: str) -> None:
        print(line, flush=True)

    seeds = _fresh_seeds(sweep, VALIDATION_SEEDS, n)
    say(f"the best {len(candidates)} of {searched} again, on validation images: seeds {seeds[0]} to {seeds[-1]}")
    groups = {c.label: sweep.each_seed(c.params, seeds, "validation") for c in candidates}
    again = {
        label: _values(rows, metric)
        for label, rows in rerun(groups, store, sweep.resources, fingerprint, say, check_stop=check_stop).items()
    }
    leader = leader_of(candidates, again, maximize=sweep.maximize)

    seeds = _fresh_seeds(sweep, TEST_SEEDS, n)
    base = sweep.config({}, 0, "test")
    say(f"{leader.label} leads; all training images, test images: seeds {seeds[0]} to {seeds[-1]}")
    groups = {
        leader.label: sweep.each_seed(leader.params, seeds, "test"),
        rival.name: [rival.config.model_copy(update={"seed": seed}) for seed in seeds],
        BASE: [base.model_copy(update={"seed": seed}) for seed in seeds],
    }
    rows = rerun(groups, store, sweep.resources, fingerprint, say, check_stop=check_stop)
    tested = {label: _values(found, metric) for label, found in rows.items()}
    for label in (leader.label, rival.name):
        if tested[label] is None:
            raise RerunError(f"{label} did not finish on every seed of the test: there is nothing to compare")
    mine, theirs = tested[leader.label] or [], tested[rival.name] or []
    show.print_table(*_table(candidates, leader, again, tested, n))
    threads = max(1, int(sweep.resources.cpu))
    return Verdict(query, searched, leader, rival, metric, seeds, mine, theirs, rows[leader.label][0], threads)


def _candidates(sweep: SweepFile, results: Folder, metric: str, top: int) -> tuple[str, list[Candidate], int]:
    """The query that picks them, the best of the search, and how many were searched."""
    order = "DESC" if sweep.maximize else "ASC"
    query = (
        f"SELECT trial, params_json, {metric} AS value FROM seeds WHERE sweep = '{sweep.name}' AND "
        f"status = 'finished' AND {metric} IS NOT NULL "
        "QUALIFY row_number() OVER (PARTITION BY config_id ORDER BY trial) = 1 "
        f"ORDER BY value {order}, trial LIMIT {top}"
    )
    stored = open_results(results, sweep.name)
    rows = stored.sql(query).arrow().to_pylist()
    candidates = [Candidate(r["trial"], json.loads(r["params_json"]), r["value"]) for r in rows]
    if not candidates:
        raise StoreError(f"{results}/{sweep.name}: no configuration has finished: nothing to promote")
    (count,) = stored.sql("SELECT count(*) AS n FROM seeds").arrow()["n"].to_pylist()
    return query, candidates, count


def leader_of(candidates: Sequence[Candidate], again: Mapping[str, list[float] | None], *, maximize: bool) -> Candidate:
    """The best on fresh seeds, of those that finished on all of them."""
    means = {c: statistics.fmean(values) for c in candidates if (values := again[c.label]) is not None}
    if not means:
        raise RerunError("none of the candidates finished on every fresh seed: nothing to promote")
    return (max if maximize else min)(means, key=lambda c: means[c])


def rival_of(file: Path, sweep: SweepFile) -> Rival:
    """The run file that would be replaced, on the sweep's images; the sweep's base if there is none yet."""
    base = sweep.config({}, 0, "test")
    if not file.exists():
        return Rival(BASE, base, None)
    config, content = load_run(file, [f"data.path={json.dumps(base.data.path)}"]).config, file.read_bytes()
    if config.data.evaluation.split != "test":
        raise ConfigError(
            "a run file to compare with is measured on test", file=str(file), field="data.evaluation.split"
        )
    return Rival(str(file), config, content)


def _fresh_seeds(sweep: SweepFile, first: int, n: int) -> tuple[int, ...]:
    first += max(0, max(sweep.seeds) + 1 - VALIDATION_SEEDS)
    return tuple(range(first, first + n))


def _values(rows: Sequence[Mapping[str, Any]], metric: str) -> list[float] | None:
    """The metric by seed; None unless all of them finished."""
    values = [row[metric] for row in rows if row["status"] == "finished" and row[metric] is not None]
    return values if len(values) == len(rows) else None


def _table(
    candidates: Sequence[Candidate],
    leader: Candidate,
    again: Mapping[str, list[float] | None],
    tested: Mapping[str, list[float] | None],
    n: int,
) -> tuple[list[str], list[list[str]]]:
    """Headers and rows of what was measured; the difference is the leader's to each."""
    headers = ["configuration", "values", "search", f"validation, n = {n}", f"test, n = {n}", "leader's difference"]
    rows = [
        [
            c.label,
            shown(c.params),
            f"{c.searched_pct:.2f}",
            _spread(again[c.label]),
            _spread(tested[c.label]) if c is leader else "",
            "",
        ]
        for c in candidates
    ]
    mine = tested[leader.label]
    for label, theirs in tested.items():
        if label != leader.label:
            gap = str(Interval.paired(mine, theirs)) if mine and theirs else ""
            rows.append([label, "", "", "", _spread(theirs), gap])
    return headers, rows


def _spread(values: Sequence[float] | None) -> str:
    return "not finished" if values is None else over_seeds(values)
