"""Does a promoted run file still give the numbers that it claims?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainer.config.files import RunFile
from trainer.config.run_config import LARGEST_SEED
from trainer.errors import ConfigError, nearest, shown
from trainer.results.columns import accuracies
from trainer.results.rows import RunResult


@dataclass(frozen=True)
class Claim:
    """What the provenance of a run file says."""

    metric: str
    by_seed_pct: dict[int, float]
    half_width_pct: float
    """half of the claimed interval of the mean"""
    data_fingerprint: str
    torch_threads: int
    """that the numbers were computed with: on a CPU they decide the order of sums"""

    @property
    def seeds(self) -> list[int]:
        return list(self.by_seed_pct)

    @classmethod
    def of(cls, file: RunFile, path: str) -> Claim:
        """Raises ConfigError if the file claims nothing, or not in the form that promotion writes."""
        found: dict[str, Any] | None = file.provenance
        if found is None:
            raise ConfigError("is missing: only promoted files claim numbers to verify", file=path, field="provenance")
        known = accuracies()
        if found.get("metric") not in known:
            raise ConfigError(
                f"{shown(found.get('metric'))} is no metric of a run",
                file=path,
                field="provenance.metric",
                allowed=", ".join(known),
                nearest=nearest(found.get("metric"), known),
            )
        try:
            low, high = found["interval_pct"]
            claim = cls(
                metric=str(found["metric"]),
                by_seed_pct={int(seed): float(value) for seed, value in found["by_seed_pct"].items()},
                half_width_pct=(float(high) - float(low)) / 2,
                data_fingerprint=str(found["data_fingerprint"]),
                torch_threads=int(found["torch_threads"]),
            )
            if not claim.by_seed_pct or not 0 <= min(claim.seeds) <= max(claim.seeds) <= LARGEST_SEED:
                raise ValueError(f"by_seed_pct must have seeds, from 0 to {LARGEST_SEED}")
            if claim.torch_threads < 1:
                raise ValueError("torch_threads must be 1 or more")
            return claim
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ConfigError(f"cannot be read: {error}", file=path, field="provenance") from None


def compare(claim: Claim, results: Sequence[RunResult]) -> int:
    """Print claim beside measurement. Returns 0 if the numbers hold, else 1.

    Equal to the last digit is what the same machine gives. Elsewhere rounding differs and training amplifies it:
    then the means must agree within the half width of the claimed interval.
    """
    print(f"\n{'seed':>6}  {'claimed %':>10}  {'measured %':>10}  {'difference':>10}")
    measured = {r.seed: getattr(r, claim.metric) for r in results}
    for seed, claimed in claim.by_seed_pct.items():
        value = measured[seed]
        shown = "-" if value is None else f"{value:.4f}"
        gap = "-" if value is None else f"{value - claimed:+.4f}"
        print(f"{seed:>6}  {claimed:>10.4f}  {shown:>10}  {gap:>10}")
    fingerprint = results[0].data_fingerprint
    if fingerprint != claim.data_fingerprint:
        print(f"not verified: the images differ (fingerprint {fingerprint}, claimed {claim.data_fingerprint})")
        return 1
    if any(r.status != "finished" for r in results):
        print("not verified: not every run finished")
        return 1
    values = [measured[seed] for seed in claim.seeds]
    gap = abs(sum(values) - sum(claim.by_seed_pct.values())) / len(values)
    if all(abs(measured[seed] - claimed) < 5e-5 for seed, claimed in claim.by_seed_pct.items()):
        print(f"verified: {claim.metric} is the claimed one for every seed")
        return 0
    if gap <= claim.half_width_pct:
        print(f"verified: the means differ by {gap:.3f}, within the claimed half width {claim.half_width_pct:.3f}")
        return 0
    print(f"not verified: the means differ by {gap:.3f}, more than the claimed half width {claim.half_width_pct:.3f}")
    return 1
