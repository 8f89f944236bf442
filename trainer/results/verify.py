"""Compare a repeated run with the results that a promoted run file records."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from trainer.config.files import RunFile
from trainer.config.run_config import LARGEST_SEED
from trainer.errors import ConfigError, nearest, shown
from trainer.results.columns import accuracies
from trainer.results.rows import RunResult


@dataclass(frozen=True)
class RecordedResult:
    """The results in the provenance of a run file."""

    metric: str
    by_seed_pct: dict[int, float]
    half_width_pct: float
    """half of the recorded interval of the mean"""
    data_fingerprint: str
    torch_threads: int
    """threads that the results were computed with; on a CPU they decide the order of sums"""

    @property
    def seeds(self) -> list[int]:
        return list(self.by_seed_pct)

    @classmethod
    def of(cls, file: RunFile, path: str) -> Self:
        """Raises ConfigError if the file records no results, or not in the form that promotion writes."""
        found: dict[str, Any] | None = file.provenance
        if found is None:
            raise ConfigError(
                "missing; only promoted run files record results that can be verified", file=path, field="provenance"
            )
        known = accuracies()
        if found.get("metric") not in known:
            raise ConfigError(
                f"{shown(found.get('metric'))} is not a metric of a run",
                file=path,
                field="provenance.metric",
                allowed=", ".join(known),
                nearest=nearest(found.get("metric"), known),
            )
        try:
            low, high = found["interval_pct"]
            recorded = cls(
                metric=str(found["metric"]),
                by_seed_pct={int(seed): float(value) for seed, value in found["by_seed_pct"].items()},
                half_width_pct=(float(high) - float(low)) / 2,
                data_fingerprint=str(found["data_fingerprint"]),
                torch_threads=int(found["torch_threads"]),
            )
            if not recorded.by_seed_pct or not 0 <= min(recorded.seeds) <= max(recorded.seeds) <= LARGEST_SEED:
                raise ValueError(f"by_seed_pct must have seeds, from 0 to {LARGEST_SEED}")
            if recorded.torch_threads < 1:
                raise ValueError("torch_threads must be 1 or more")
            return recorded
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ConfigError(f"cannot be read: {error}", file=path, field="provenance") from None


def compare(recorded: RecordedResult, results: Sequence[RunResult]) -> int:
    """Print recorded and measured results. Returns 0 if they agree, otherwise 1.

    On the same kind of machine they are equal to the last digit. On a different one, rounding differs and training
    amplifies it: then the means must agree within the half width of the recorded interval.
    """
    print(f"\n{'seed':>6}  {'recorded %':>10}  {'measured %':>10}  {'difference':>10}")
    measured = {r.seed: getattr(r, recorded.metric) for r in results}
    for seed, before in recorded.by_seed_pct.items():
        value = measured[seed]
        shown = "-" if value is None else f"{value:.4f}"
        gap = "-" if value is None else f"{value - before:+.4f}"
        print(f"{seed:>6}  {before:>10.4f}  {shown:>10}  {gap:>10}")
    fingerprint = results[0].data_fingerprint
    if fingerprint != recorded.data_fingerprint:
        print(f"not verified: the images differ (fingerprint {fingerprint}, recorded {recorded.data_fingerprint})")
        return 1
    if any(r.status != "finished" for r in results):
        print("not verified: not every run finished")
        return 1
    values = [measured[seed] for seed in recorded.seeds]
    gap = abs(sum(values) - sum(recorded.by_seed_pct.values())) / len(values)
    if all(abs(measured[seed] - before) < 5e-5 for seed, before in recorded.by_seed_pct.items()):
        print(f"verified: {recorded.metric} matches the recorded value for every seed")
        return 0
    if gap <= recorded.half_width_pct:
        print(f"verified: the means differ by {gap:.3f}, within the recorded half width {recorded.half_width_pct:.3f}")
        return 0
    print(
        f"not verified: the means differ by {gap:.3f}, more than the recorded half width {recorded.half_width_pct:.3f}"
    )
    return 1
