"""Compare a sweep's best with the incumbent. Retraining on fresh seeds removes selection bias.

The best few of the search run again on validation images, to undo the luck of having been the best of many. Only the
one that then leads is evaluated on the test split, on seeds that are fresh once more: choosing among several on test
images would be searching on them.
"""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any, Self

from sweeper.execution.given import train_given
from sweeper.execution.plan import check_objective
from sweeper.promotion.further import FurtherObjective, further_objectives
from sweeper.promotion.points import NAMES, point_query
from sweeper.promotion.statistics import Interval, by_unit, check_comparable
from sweeper.promotion.target import Target
from sweeper.search.repetitions import Repetitions
from sweeper.search.space import Params, Space
from sweeper.search.words import format_params
from sweeper.store.folder import Folder
from sweeper.store.results import open_results
from sweeper.store.store import Store
from sweeper.store.sweep_file import absolute_path
from trainer.config.files import load_run
from trainer.config.run_config import RunConfig
from trainer.data.sources import load
from trainer.data.tasks import build
from trainer.data.world import World
from trainer.errors import ConfigError, StoreError, UserError
from trainer.results.rows import RunResult
from trainer.results.spread import mean_std_over_seeds
from trainer.words import format_count

VALIDATION_SEEDS, TEST_SEEDS = 1000, 2000
"""first of the fresh seeds and worlds of both steps, past those that sweeps use"""
FRESH = 5
"""fresh seeds or worlds, unless another number is asked for"""


class PromotionError(UserError):
    """A configuration did not finish on every fresh seed, so that nothing can be compared."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """One of the best configurations of a search."""

    trial: int
    params: Params
    searched_pct: float
    """mean over the search's seeds"""

    @property
    def label(self) -> str:
        """Name of the candidate in messages."""
        return f"trial {self.trial}"


@dataclass(frozen=True)
class Incumbent:
    """The run file that a promotion would replace, or the target's base where there is none."""

    target: Target
    name: str
    config: RunConfig
    content: bytes | None
    """of the run file; None where there is none"""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """where the run file says that its numbers come from"""

    @classmethod
    def of(cls, file: Path, target: Target) -> Self:
        """The run file, on the target's images; the target's base if there is no such file.

        Raises ConfigError for what it holds, StoreError if it cannot be read.
        """
        base, content = target.base, content_of(file)
        if content is None:
            return cls(target, target.name, base, None)
        config, provenance = load_run(file, [f"data.path={json.dumps(base.data.path)}"])
        if config.data.evaluation.split != "test":
            raise ConfigError(
                "an incumbent must be evaluated on the test split", file=str(file), field="data.evaluation.split"
            )
        return cls(target, str(file), config, content, provenance or {})


def content_of(file: Path) -> bytes | None:
    """What the run file holds; None if there is none. Raises StoreError if it cannot be read."""
    try:
        return Folder.at(file.parent).read_bytes(file.name)
    except FileNotFoundError:
        return None


@dataclass(frozen=True)
class Comparison:
    """The results of the leader and of the incumbent on the test split."""

    query: str
    """SQL that chose the candidates"""
    searched: int
    """configurations that the sweep has tried"""
    leader: Candidate
    incumbent: Incumbent
    repeated: Repetitions
    """the runs of the test"""
    leader_pct: list[float]
    """on the test split, by run"""
    incumbent_pct: list[float]
    run: RunResult
    """one of the leader's, for its provenance"""
    table: tuple[Sequence[str], Sequence[Sequence[str]]]
    """headers and rows of all that was measured, in words"""
    further: Sequence[FurtherObjective] = ()
    """the objectives after the first, which decides"""

    @property
    def difference(self) -> Interval:
        """Leader minus incumbent, paired by seed or world."""
        return Interval.paired(self.leader_pct, self.incumbent_pct, self.repeated.in_a_unit)

    @property
    def leader_units_pct(self) -> list[float]:
        """The leader's by seed, or the mean over seeds by world."""
        return by_unit(self.leader_pct, self.repeated.in_a_unit)

    @property
    def incumbent_units_pct(self) -> list[float]:
        """The same of the incumbent."""
        return by_unit(self.incumbent_pct, self.repeated.in_a_unit)


def evaluate_candidates(
    space: Space,
    incumbent: Incumbent,
    store: Store,
    *,
    top: int,
    n: int | None = None,
    worlds: int | None = None,
    point: str | None = None,
    say: Callable[[str], None],
    check_stop: Callable[[], None] = lambda: None,
    own_cluster: bool = False,
) -> Comparison:
    """Train the ``top`` of the search and the incumbent on fresh repetitions, as this file's docstring says.

    Without ``worlds``, on ``n`` fresh seeds (default: 5); of a search in worlds, or with ``worlds``, in that many fresh
    ones (default: 5), each with ``n`` fresh seeds (default: as many as the search's).

    ``point``: instead of the ``top``, this one alone, as ``point_query`` names it. It was chosen before it is trained
    again, so that there is nothing to choose on validation images.

    ``check_stop`` raises to stop; ``own_cluster``: no other process uses it. Raises StoreError if no trial of the
    search has finished, ConfigError if the test split lacks its objective, PromotionError if runs do not finish here.
    """
    metric, target = space.spec.objective.metric, incumbent.target
    query, candidates, searched = _candidates(space, store.folder.parent, top, point)
    again_on, test_on = (fresh(space, first, n, worlds, target) for first in (VALIDATION_SEEDS, TEST_SEEDS))
    theirs = incumbent.config.repetition(*test_on.runs[0])
    for c in candidates:
        ours = target.config(c.params).repetition(*test_on.runs[0])
        check_comparable(ours, theirs, file=incumbent.name, other=target.file or "the sweep")
    task_stream = build(absolute_path(theirs).data, theirs.protocol)
    check_objective(metric, task_stream, incumbent.name)

    searched_on = task_stream.fingerprint if target.file is None else load(absolute_path(space.base).data).fingerprint

    def train(groups: Mapping[str, Sequence[RunConfig]], fingerprint: str) -> dict[str, list[RunResult]]:
        resources = space.spec.resources
        return train_given(groups, store, resources, metric, fingerprint, say, check_stop, own_cluster)

    again: dict[str, list[float] | None] = {}
    if point is None:
        many = format_count(len(candidates) * len(again_on.runs), "run")
        say(f"retraining the top {len(candidates)} of {searched} {_on(again_on)} ({many}, validation)")
        groups = {c.label: space.configs(c.params, again_on.runs, whole=True) for c in candidates}
        again = {label: _values(results, metric) for label, results in train(groups, searched_on).items()}
        leader, leads = leader_of(candidates, again, maximize=space.maximize), "leads"
    else:
        leader, leads = candidates[0], f"is the {point} point of the front" if point in NAMES else "was named"

    for line in task_stream.said:
        say(line)
    where = "the test split" if target.file is None else f"the test split of {target.file}"
    say(f"{leader.label} {leads}; evaluating it on {where}, all training images, {_on(test_on)}")
    tested_there = {
        leader.label: target.config(leader.params),
        incumbent.name: incumbent.config,
        target.name: target.base,
    }
    results = train(
        {label: [config.repetition(*one) for one in test_on.runs] for label, config in tested_there.items()},
        task_stream.fingerprint,
    )
    tested = {label: _values(found, metric) for label, found in results.items()}
    for label in (leader.label, incumbent.name):
        if tested[label] is None:
            reason = next((result.error for result in results[label] if result.error), "no reason given")
            raise PromotionError(f"{label} did not finish on every run of the test: {reason}")
    return Comparison(
        query=query,
        searched=searched,
        leader=leader,
        incumbent=incumbent,
        repeated=test_on,
        leader_pct=tested[leader.label] or [],
        incumbent_pct=tested[incumbent.name] or [],
        run=results[leader.label][0],
        table=_table(candidates, leader, again, tested, test_on),
        further=further_objectives(
            space.spec.wanted[1:], results[leader.label], results[incumbent.name], test_on.in_a_unit
        ),
    )


def _candidates(space: Space, results: Folder, top: int, point: str | None) -> tuple[str, list[Candidate], int]:
    """The query that picks them, the best of the search or a ``point``, and how many were searched."""
    metric, order = space.spec.objective.metric, "DESC" if space.maximize else "ASC"
    query = (
        f"SELECT trial, params_json, {metric} AS value FROM seeds WHERE sweep = $sweep AND "
        f"status = 'finished' AND feasible AND {metric} IS NOT NULL "
        "QUALIFY row_number() OVER (PARTITION BY config_id ORDER BY trial) = 1 "
        f"ORDER BY value {order}, trial LIMIT {top}"
    )
    if point is not None:
        query = point_query(point, metric, [objective.direction for objective in space.spec.wanted])
    stored = open_results(results, space.name)
    rows = stored.sql(query, sweep=space.name).rows()
    candidates = [Candidate(r["trial"], json.loads(r["params_json"]), r["value"]) for r in rows]
    if not candidates and point not in (None, *NAMES):
        front = [row["trial"] for row in stored.sql("SELECT trial FROM front ORDER BY trial").rows()]
        problem = f"no such trial {space.goals.reached}"
        raise ConfigError(problem, field=f"--point {point}", allowed=f"on the front: {', '.join(map(str, front))}")
    if not candidates:
        raise StoreError(f"{results}/{space.name}: nothing to promote: no configuration {space.goals.reached}")
    (counted,) = stored.sql("SELECT count(*) AS n FROM seeds").rows()
    return query, candidates, counted["n"]


def leader_of(candidates: Sequence[Candidate], again: Mapping[str, list[float] | None], *, maximize: bool) -> Candidate:
    """The best on fresh seeds, of those that finished on all of them. Raises PromotionError if none did."""
    means = {c: statistics.fmean(values) for c in candidates if (values := again[c.label]) is not None}
    if not means:
        raise PromotionError("nothing to promote: no candidate finished on every fresh seed")
    return (max if maximize else min)(means, key=lambda c: means[c])


def fresh(space: Space, first: int, n: int | None, worlds: int | None, target: Target | None = None) -> Repetitions:
    """Repetitions that the search has not seen, from ``first`` on: past its seeds, and none of its worlds.

    ``target``: whose world is none of them either. ``n`` and ``worlds`` as for ``evaluate_candidates``. Raises
    ConfigError for a single seed without worlds.
    """
    searched = space.spec.repeated
    start = first + max(0, max(searched.seeds) + 1 - VALIDATION_SEEDS)
    if not (worlds or searched.worlds):
        if n == 1:
            raise ConfigError("one seed has no interval", field="--seeds", allowed="2 or more, or worlds")
        return Repetitions(seeds=tuple(range(start, start + (n or FRESH))))
    numbers = filter(_unseen(space, target), count(first))
    each = n or len(searched.seeds)
    return Repetitions(
        worlds=tuple(World.drawn(number) for number in islice(numbers, worlds or FRESH)),
        seeds=tuple(range(start, start + each)),
    )


def _unseen(space: Space, target: Target | None) -> Callable[[int], bool]:
    """Whether the search has seen neither the class order nor the tail of the world that is drawn from a number."""
    bases = [space.base, *(() if target is None else (target.base,))]
    seen = [*space.spec.repeated.worlds, *(World.of(base.data, base.protocol) for base in bases)]
    orders, tails = ({getattr(world, name) for world in seen if world} for name in ("class_order", "tail"))
    return lambda number: number not in orders and World.drawn(number).tail not in tails


def _on(repeated: Repetitions) -> str:
    """``on fresh seeds 1000-1004``."""
    seeds = f"seed{'s' if len(repeated.seeds) > 1 else ''} {_first_to_last(repeated.seeds)}"
    if not repeated.worlds:
        return f"on fresh {seeds}"
    return f"in fresh worlds {_first_to_last(repeated.worlds)}, {seeds}"


def _first_to_last(names: Sequence[object]) -> str:
    return f"{names[0]}-{names[-1]}" if len(names) > 1 else f"{names[0]}"


def _values(results: Sequence[RunResult], metric: str) -> list[float] | None:
    """The metric by seed; None unless all of them finished."""
    values = [getattr(r, metric) for r in results if r.status == "finished" and getattr(r, metric) is not None]
    return values if len(values) == len(results) else None


def _table(
    candidates: Sequence[Candidate],
    leader: Candidate,
    again: Mapping[str, list[float] | None],
    tested: Mapping[str, list[float] | None],
    repeated: Repetitions,
) -> tuple[list[str], list[list[str]]]:
    """Headers and rows of what was measured; the difference is the leader's to each."""

    def in_words(values: Sequence[float] | None) -> str:
        return "not finished" if values is None else mean_std_over_seeds(by_unit(values, repeated.in_a_unit))

    n = f"n = {repeated if repeated.worlds else len(repeated.seeds)}"
    headers = ["configuration", "values", "search", f"validation, {n}", f"test, {n}", "leader's difference"]
    rows = []
    for c in candidates:
        test = in_words(tested[c.label]) if c is leader else ""
        rows.append(
            [
                c.label,
                format_params(c.params),
                f"{c.searched_pct:.2f}",
                in_words(again[c.label]) if again else "",
                test,
                "",
            ]
        )
    mine = tested[leader.label]
    for label, theirs in tested.items():
        if label != leader.label:
            gap = str(Interval.paired(mine, theirs, repeated.in_a_unit)) if mine and theirs else ""
            rows.append([label, "", "", "", in_words(theirs), gap])
    return headers, rows
