"""The decision about a run file: taken, written with its provenance where it is yes, and recorded in the sweep."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sweeper.promotion.candidates import Comparison, Incumbent, content_of
from sweeper.promotion.statistics import Decision, Interval, decide
from sweeper.promotion.target import BASE
from sweeper.search.repetitions import Repetition, Repetitions
from sweeper.search.space import Space
from sweeper.store.folder import Folder
from sweeper.store.results import Tables, open_results
from sweeper.store.schema import PromotionRow
from sweeper.store.store import Store
from trainer.config.files import dump_run
from trainer.config.run_config import RunConfig
from trainer.data.location import as_stated
from trainer.errors import UserError
from trainer.results.verify import RecordedResult


def decide_and_record(space: Space, comparison: Comparison, file: Path, store: Store, *, force: bool) -> Decision:
    """Decide, write the run file or not, and record it in the sweep's ``store``.

    ``force`` writes the file without evidence. Only for the holder of the promotion's lease. Raises UserError where the
    file cannot be read or written, or has changed since it was compared, and where the lease is lost.
    """
    first = comparison.repeated.runs[0]
    config = comparison.incumbent.target.config(comparison.leader.params).repetition(first.seed)
    config_id = config.repetition(*first).config_id
    provenance = _provenance(comparison, space)
    provenance["test_looks"] = _looks(config_id, provenance, open_results(store.folder.parent))
    decision = _decision(config_id, provenance, space)
    provenance["forced"] = not decision.promoted
    written = decision.promoted or force
    if written:
        if content_of(file) != comparison.incumbent.content:
            raise UserError(f"{file}: changed during this promotion; run promote again")
        folder = replace(Folder.at(file.parent), check=store.folder.check)
        folder.write(file.name, dump_run(_images_stated_in(file, config), provenance).encode())
    store.promote(_record(config_id, provenance, file, decision, written=written))
    return decision


def _images_stated_in(file: Path, config: RunConfig) -> RunConfig:
    path = None if config.data.path is None else as_stated(config.data.path, file)
    return config.model_copy(update={"data": config.data.model_copy(update={"path": path})})


def complete_record(space: Space, incumbent: Incumbent, file: Path, store: Store) -> Decision | None:
    """Record the promotion that wrote the run file and was killed before it could; None if there was none.

    Its provenance tells: of this sweep, measured by runs that are stored here (a file that comes with a checkout is
    not), and later than every decision about this configuration. Only for the holder of the promotion's lease.
    """
    try:
        by_run = RecordedResult.model_validate(incumbent.provenance).runs
        configs = [incumbent.config.repetition(seed, world) for seed, world, _ in by_run]
        config_id = configs[0].config_id
        decision = _decision(config_id, incumbent.provenance, space)
        record = _record(config_id, incumbent.provenance, file, decision, written=True)
        claimed = {
            (config.seed, None if config.world is None else str(config.world), value)
            for config, (_, _, value) in zip(configs, by_run, strict=True)
        }
    except (LookupError, TypeError, ValueError, AttributeError, ValidationError):
        return None
    metric = space.spec.objective.metric
    if (record.sweep, record.metric, record.split) != (space.name, metric, "test"):
        return None
    results = open_results(store.folder.parent)
    runs = (
        f"SELECT seed, world, {metric} AS value FROM runs "
        "WHERE config_id = $id AND split = 'test' AND status = 'finished'"
    )
    measured = {(row["seed"], row["world"], row["value"]) for row in results.sql(runs, id=config_id).rows()}
    later = "SELECT 1 FROM promotions WHERE sweep = $sweep AND config_id = $id AND decided_at >= $at"
    recorded = results.sql(later, sweep=space.name, id=config_id, at=record.decided_at).rows()
    if not claimed or not claimed <= measured or recorded:
        return None
    store.promote(record)
    return decision


def _decision(config_id: str, provenance: Mapping[str, Any], space: Space) -> Decision:
    """What the measurements that a provenance states allow to say of its configuration."""
    against = provenance["compared_with"]
    if config_id == against["config_id"]:
        return Decision(False, f"the leading configuration is {against['name']} itself")
    difference = Interval(against["difference_pct"], *against["difference_interval_pct"])
    return decide(difference, maximize=space.maximize, incumbent=against["name"])


def _record(
    config_id: str, provenance: Mapping[str, Any], file: Path, decision: Decision, *, written: bool
) -> PromotionRow:
    against = provenance["compared_with"]
    low, high = against["difference_interval_pct"]
    return PromotionRow(
        **{name: provenance[name] for name in PromotionRow.model_fields if name in provenance},  # stated in both
        config_id=config_id,
        name=file.stem,
        file=str(file),
        decision="promoted" if written else "refused",
        reason=decision.reason,
        interval_low_pct=low,
        interval_high_pct=high,
        further_json=json.dumps(provenance["further_objectives"]) if "further_objectives" in provenance else None,
        incumbent_config_id=None if against["name"] in (BASE, provenance.get("tested_on")) else against["config_id"],
        incumbent_mean_pct=against["mean_pct"],
        incumbent_std_pct=against["std_pct"],
        git_commit=provenance["commit"],
        decided_at=datetime.fromisoformat(provenance["promoted_at"]),
    )


def _provenance(comparison: Comparison, space: Space) -> dict[str, Any]:
    """Where the numbers of the run file come from; ``python -m trainer.run --verify`` reads it."""
    ours, theirs = comparison.leader_units_pct, comparison.incumbent_units_pct
    own, run, incumbent = Interval.of(ours), comparison.run, comparison.incumbent
    difference, repeated = comparison.difference, comparison.repeated
    by_run = list(zip(repeated.runs, comparison.leader_pct, strict=True))
    return {
        "sweep": space.name,
        "trial": comparison.leader.trial,
        "trials": comparison.searched,
        "metric": space.spec.objective.metric,
        "split": "test",
        **({} if incumbent.target.file is None else {"tested_on": incumbent.target.file}),
        "splits": run.splits or [],
        "seeds": list(repeated.seeds),
        **({"worlds": list(map(str, repeated.worlds))} if repeated.worlds else {}),
        "n": len(ours),
        "mean_pct": own.mean,
        "std_pct": statistics.stdev(ours),
        "interval_pct": [own.low, own.high],
        **_by_run(repeated, by_run),
        "compared_with": {
            "name": incumbent.name,
            "config_id": incumbent.config.repetition(*repeated.runs[0]).config_id,
            "mean_pct": statistics.fmean(theirs),
            "std_pct": statistics.stdev(theirs),
            "difference_pct": difference.mean,
            "difference_interval_pct": [difference.low, difference.high],
        },
        **({"further_objectives": [one.stated() for one in comparison.further]} if comparison.further else {}),
        "forced": False,
        "commit": run.git_commit,
        "data_fingerprint": run.data_fingerprint,
        "device": run.device,
        "precision": run.precision,
        "torch_threads": run.torch_threads or space.spec.resources.threads,
        "query": comparison.query,
        "promoted_at": datetime.now(UTC).isoformat(),
    }


def _looks(config_id: str, provenance: Mapping[str, Any], results: Tables) -> int:
    """How often the test images of a data set have been looked at in a results folder, this time included.

    Another decision about the same configuration on the same seeds and worlds shows nothing new.
    """
    query = "SELECT config_id, seeds, worlds FROM promotions WHERE data_fingerprint = $images AND split = $split"
    rows = results.sql(query, images=provenance["data_fingerprint"], split=provenance["split"]).rows()
    looks = [*rows, {"config_id": config_id, "seeds": provenance["seeds"], "worlds": provenance.get("worlds")}]
    return len({(look["config_id"], tuple(look["seeds"]), tuple(look["worlds"] or ())) for look in looks})


def _by_run(repeated: Repetitions, by_run: Sequence[tuple[Repetition, float]]) -> dict[str, Any]:
    """The percentages as ``RecordedResult`` reads them; worlds in full, so that the file alone is enough."""
    if not repeated.worlds:
        return {"by_seed_pct": {one.seed: value for one, value in by_run}}
    return {
        "by_world": [
            {
                "world": world.model_dump(mode="json"),
                "by_seed_pct": {one.seed: value for one, value in by_run if one.world == world},
            }
            for world in repeated.worlds
        ]
    }
