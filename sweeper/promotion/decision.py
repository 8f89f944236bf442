"""The decision about a run file: taken, written with its provenance where it is yes, and recorded in the sweep."""

import statistics
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sweeper.promotion.candidates import Comparison
from sweeper.promotion.statistics import Decision, Interval, decide
from sweeper.search.space import Space
from sweeper.store.folder import Folder
from sweeper.store.schema import PromotionRow
from sweeper.store.store import Store
from trainer.config.files import dump_run
from trainer.errors import UserError


def decide_and_record(space: Space, comparison: Comparison, file: Path, store: Store, *, force: bool) -> Decision:
    """Decide, write the run file or not, and record it in the sweep's ``store``.

    ``force`` writes the file without evidence. Raises UserError where the file cannot be written, or has changed since
    it was compared.
    """
    (config,) = space.configs(comparison.leader.params, comparison.seeds[:1], "test")
    incumbent = comparison.incumbent
    if config.config_id == incumbent.config.config_id:
        decision = Decision(False, f"the leading configuration is {incumbent.name} itself")
    else:
        decision = decide(comparison.difference, maximize=space.maximize, incumbent=incumbent.name)
    written = decision.promoted or force
    provenance = _provenance(comparison, space, forced=not decision.promoted)
    if written:
        if (file.read_bytes() if file.exists() else None) != incumbent.content:
            raise UserError(f"{file}: changed during this promotion; run promote again")
        Folder.at(file.parent).write(file.name, dump_run(config, provenance).encode())
    store.promote(
        PromotionRow(
            **{name: provenance[name] for name in PromotionRow.model_fields if name in provenance},  # stated in both
            config_id=config.config_id,
            name=file.stem,
            file=str(file),
            decision="promoted" if written else "refused",
            reason=decision.reason,
            interval_low_pct=comparison.difference.low,
            interval_high_pct=comparison.difference.high,
            incumbent_config_id=None if incumbent.content is None else incumbent.config.config_id,
            incumbent_mean_pct=provenance["compared_with"]["mean_pct"],
            incumbent_std_pct=provenance["compared_with"]["std_pct"],
            git_commit=comparison.run.git_commit,
            decided_at=datetime.now(UTC),
        )
    )
    return decision


def _provenance(comparison: Comparison, space: Space, *, forced: bool) -> dict[str, Any]:
    """Where the numbers of the run file come from; ``python -m trainer.run --verify`` reads it."""
    own, run, incumbent = Interval.of(comparison.leader_pct), comparison.run, comparison.incumbent
    difference = comparison.difference
    return {
        "sweep": space.name,
        "trial": comparison.leader.trial,
        "trials": comparison.searched,
        "metric": space.spec.objective.metric,
        "split": "test",
        "seeds": list(comparison.seeds),
        "n": len(comparison.seeds),
        "mean_pct": own.mean,
        "std_pct": statistics.stdev(comparison.leader_pct),
        "interval_pct": [own.low, own.high],
        "by_seed_pct": dict(zip(comparison.seeds, comparison.leader_pct, strict=True)),
        "compared_with": {
            "name": incumbent.name,
            "config_id": incumbent.config.config_id,
            "mean_pct": statistics.fmean(comparison.incumbent_pct),
            "std_pct": statistics.stdev(comparison.incumbent_pct),
            "difference_pct": difference.mean,
            "difference_interval_pct": [difference.low, difference.high],
        },
        "forced": forced,
        "commit": run.git_commit,
        "data_fingerprint": run.data_fingerprint,
        "device": run.device,
        "precision": run.precision,
        "torch_threads": max(1, int(space.spec.resources.cpu)),
        "query": comparison.query,
        "promoted_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
