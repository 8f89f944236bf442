"""Whether the device computes what it must: members equal single runs, and in no step does the host wait."""

import contextlib
import math
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from pydantic import ValidationError

from benchmarks.gpu.findings import Findings
from benchmarks.gpu.kit import Kit
from trainer.config.run_config import RunConfig
from trainer.data.tasks import TaskStream
from trainer.methods.base import METHODS
from trainer.results.rows import RunResult
from trainer.training.loop import EpochLoop
from trainer.training.options import DeviceOptions
from trainer.training.profile import few_images
from trainer.training.session import train

TOLERANCE = {"float64": 1e-6, "float32": 5e-2, "bfloat16": 2e-1}
"""of a loss, relative; a GPU convolves float32 in TF32, and steps amplify what is rounded"""
_STEPS = 200
"""that a comparison takes, about, in steps of one run"""


_HEADERS = ("method", "precision", "members equal single runs", "largest difference", "waits in steps")


def correctness(kit: Kit, found: Findings) -> None:
    """The run's method in every precision."""
    name = kit.config.method.name
    if not kit.on_gpu:
        found.notes.append("On a CPU there is nothing that the host could wait for.")
    _compared([(name, precision) for precision in ("float64", "bfloat16", "float32")], kit, found)
    if found.fits("bit-equal repeats", kit.expected_s(_STEPS)):
        with found.guarded("bit-equal repeats"):
            _repeat(pair(kit.config, name), kit, _few(kit), found)


def methods(kit: Kit, found: Findings) -> None:
    """All other methods in float64, as far as the time goes."""
    own = kit.config.method.name
    _compared([(name, "float64") for name in kit.methods if name != own], kit, found)


def _compared(asked: Sequence[tuple[str, str]], kit: Kit, found: Findings) -> None:
    found.headers = _HEADERS
    expected_s = kit.expected_s(_STEPS)
    for name, precision in asked:
        if not found.fits(f"{name} in {precision} and all after it", expected_s):
            return
        began = time.monotonic()
        with found.guarded(f"{name} in {precision}"):
            _compare(pair(kit.config, name), precision, kit, _few(kit), found)
        expected_s = time.monotonic() - began


def _few(kit: Kit) -> TaskStream:
    return few_images(kit.task_stream, kit.config.optim.batch_size)


def _repeat(configs: Sequence[RunConfig], kit: Kit, few: TaskStream, found: Findings) -> None:
    """Whether ``--deterministic`` keeps its promise."""
    options = replace(kit.options, deterministic=True)
    first, second = (train(configs, options, task_stream=few) for _ in range(2))
    difference = largest_difference(first, second)
    found.check(difference == 0, "runs with --deterministic are repeated bit by bit")
    found.notes.append(f"With --deterministic, losses of two equal runs differ by {difference:.1e}.")


def _compare(configs: Sequence[RunConfig], precision: str, kit: Kit, few: TaskStream, found: Findings) -> None:
    name = configs[0].method.name
    options = replace(kit.options, precision=precision)
    together = train(configs, options, task_stream=few)
    alone = [result for config in configs for result in train([config], options, task_stream=few)]
    difference = largest_difference(together, alone)
    equal = found.check(difference <= TOLERANCE[precision], f"{name} in {precision}: members equal single runs")
    waits = _waits(configs, options, few) if kit.on_gpu else None
    if waits is not None:
        found.check(not waits, f"{name} in {precision}: no step waits, but at {', '.join(waits)}")
    shown = "-" if waits is None else str(waits.total())
    found.add([name, precision, equal, f"{difference:.1e}", shown], difference=difference, waits=waits)


def pair(config: RunConfig, method: str) -> list[RunConfig]:
    """Two short runs of a method that differ in their seed and in a coefficient, if it has one that may be halved."""
    optim = config.optim.model_copy(update={"epochs": 2, "lr": 0.01, "milestones": (), "batch_size": 32})
    own = config.method if config.method.name == method else METHODS.find(method)()
    first = config.model_copy(update={"method": own, "optim": optim, "stage2": None})
    second = first.model_copy(update={"seed": config.seed + 1})
    values = own.model_dump(by_alias=True)
    for field in own.per_member_fields():
        with contextlib.suppress(ValidationError, TypeError):
            other = type(own).model_validate({**values, field: values[field] / 2})
            return [first, second.model_copy(update={"method": other})]
    return [first, second]


def largest_difference(results: Sequence[RunResult], others: Sequence[RunResult]) -> float:
    """The largest relative difference of a loss; infinite where one is not finite or a run did not end."""
    largest = 0.0
    for one, other in zip(results, others, strict=True):
        if one.status != "finished" or other.status != "finished":
            return math.inf
        for row, twin in zip(one.epochs, other.epochs, strict=True):
            difference = abs(row.loss - twin.loss) / max(abs(twin.loss), 1e-12)
            largest = max(largest, difference if math.isfinite(difference) else math.inf)
    return largest


def _waits(configs: Sequence[RunConfig], options: DeviceOptions, few: TaskStream) -> Counter[str]:
    """The lines of steps at which the host waits for the GPU, as PyTorch itself reports them."""
    with warnings.catch_warnings(record=True) as said, _told_of_waits():
        warnings.simplefilter("always")
        train(configs, options, task_stream=few)
    lines = [one for one in said if "called a synchronizing" in str(one.message)]
    return Counter(f"{Path(one.filename).name}:{one.lineno}" for one in lines)


@contextlib.contextmanager
def _told_of_waits() -> Iterator[None]:
    """Within: PyTorch warns of every wait in a step. Between steps the host reads by design."""
    inner = EpochLoop.step

    def step(epoch_loop: EpochLoop, *arguments: Any) -> Any:
        torch.cuda.set_sync_debug_mode("warn")
        try:
            return inner(epoch_loop, *arguments)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    with mock.patch.object(EpochLoop, "step", step):
        yield
