"""Compare a repeated run with the results that a promoted run file records."""

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from trainer.config.explain import explain
from trainer.config.files import RunFile
from trainer.data.world import World, number_or_world
from trainer.errors import ConfigError
from trainer.limits import LARGEST_SEED
from trainer.registry import OneOf
from trainer.results.columns import accuracies
from trainer.results.rows import RunResult
from trainer.words import WARNING, format_count

BySeed = Annotated[dict[Annotated[int, Field(ge=0, le=LARGEST_SEED)], float], Field(min_length=1)]


class RecordedWorld(BaseModel):
    """The results in one world."""

    world: Annotated[World, BeforeValidator(number_or_world)]
    by_seed_pct: BySeed


class RecordedResult(BaseModel):
    """The results in the provenance of a run file, among all else that promotion writes there."""

    metric: Annotated[str, OneOf(accuracies)]
    by_seed_pct: BySeed | None = None
    by_world: list[RecordedWorld] = []
    """instead of ``by_seed_pct``, where the repetitions are worlds"""
    interval_pct: tuple[float, float]
    """of the mean"""
    data_fingerprint: str
    torch_threads: int = Field(ge=1)
    """threads that the results were computed with; on a CPU they decide the order of sums"""
    precision: str | None = None
    """that the results were computed in"""

    @model_validator(mode="after")
    def _of_seeds_or_worlds(self) -> Self:
        if (self.by_seed_pct is None) != bool(self.by_world):
            raise ValueError("needs either by_seed_pct or by_world")
        return self

    @property
    def runs(self) -> list[tuple[int, World | None, float]]:
        """Seed, world and recorded percentage of each run."""
        if self.by_seed_pct is not None:
            return [(seed, None, value) for seed, value in self.by_seed_pct.items()]
        return [(seed, own.world, value) for own in self.by_world for seed, value in own.by_seed_pct.items()]

    @classmethod
    def of(cls, file: RunFile, path: str) -> Self:
        """Raises ConfigError if the file records no results, or not in the form that promotion writes."""
        if file.provenance is None:
            problem = "missing; only promoted run files record results that can be verified"
            raise ConfigError(problem, file=path, field="provenance")
        try:
            return cls.model_validate(file.provenance)
        except ValidationError as error:
            raise explain(error, cls, file=path, prefix="provenance.") from None


def compare(recorded: RecordedResult, results: Sequence[RunResult]) -> int:
    """Print recorded and measured results. Returns 0 if they agree, otherwise 1.

    On the same kind of machine they are equal to the last digit. On a different one, rounding differs and training
    amplifies it: then the means must agree within the half width of the recorded interval.
    """
    threads = results[0].torch_threads
    if results[0].device == "cpu" and threads not in (None, recorded.torch_threads):
        recorded_with, measured_with = (format_count(n, "CPU thread") for n in (recorded.torch_threads, threads))
        print(
            f"{WARNING}recorded with {recorded_with}, measured with {measured_with}: "
            "rounding differs, and training amplifies it"
        )
    if recorded.precision is not None and results[0].precision not in (None, recorded.precision):
        print(f"{WARNING}recorded in {recorded.precision}, measured in {results[0].precision}: rounding differs")
    first = f"{'world':>12}  {'seed':>6}" if recorded.by_world else f"{'seed':>6}"
    print(f"\n{first}  {'recorded %':>10}  {'measured %':>10}  {'difference':>10}")
    measured = {(r.seed, r.world if recorded.by_world else None): getattr(r, recorded.metric) for r in results}
    pairs = [(before, measured[seed, None if world is None else str(world)]) for seed, world, before in recorded.runs]
    for (seed, world, _), (before, now) in zip(recorded.runs, pairs, strict=True):
        shown, gap = ("-", "-") if now is None else (f"{now:.4f}", f"{now - before:+.4f}")
        first = f"{seed:>6}" if world is None else f"{world!s:>12}  {seed:>6}"
        print(f"{first}  {before:>10.4f}  {shown:>10}  {gap:>10}")
    fingerprint = results[0].data_fingerprint
    if fingerprint != recorded.data_fingerprint:
        print(f"not verified: the images differ (fingerprint {fingerprint}, recorded {recorded.data_fingerprint})")
        return 1
    if any(r.status != "finished" for r in results):
        print("not verified: not every run finished")
        return 1
    gaps = [now - before for before, now in pairs]
    if all(abs(gap) < 5e-5 for gap in gaps):
        each = "every world and seed" if recorded.by_world else "every seed"
        print(f"verified: {recorded.metric} matches the recorded value for {each}")
        return 0
    low, high = recorded.interval_pct
    of_means, half_width = abs(sum(gaps)) / len(gaps), (high - low) / 2
    if of_means <= half_width:
        print(f"verified: the means differ by {of_means:.3f}, within the recorded half width {half_width:.3f}")
        return 0
    print(f"not verified: the means differ by {of_means:.3f}, more than the recorded half width {half_width:.3f}")
    return 1
