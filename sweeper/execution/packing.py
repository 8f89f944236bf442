"""Choose the number of configurations in a pack: ``resources.pack``, or for ``auto`` by measurement.

A worker times a few steps of one run, then of a configuration's seeds together, then of twice as many, and so on. The
pack grows while each run's share of a step falls and the memory allows it.
"""

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Self

import ray
import torch
from pydantic import BaseModel, Field

from sweeper.search.space import Resources, Space
from sweeper.search.words import METHOD
from sweeper.store.folder import Folder
from sweeper.store.sealed import sealed_json, unsealed_json
from trainer.config.run_config import RunConfig
from trainer.data.tasks import build
from trainer.errors import StoreError
from trainer.training.options import DeviceOptions
from trainer.training.profile import StepCost, profile_steps
from trainer.training.session import of_worlds
from trainer.words import format_count

_FILE = "packing.json"
_WORTH = 0.95
"""a pack grows if a run's share of a step is less than this times that in the smaller pack"""
_PATIENCE_S = 8.0
"""seconds after the first measurement; another that would end later is not begun"""
_STEPS = 12
"""approximate number of steps of a measurement"""
_ROUNDS = 4
"""minimum number of packs trained one after another, so that the search can learn from the earlier ones"""
_FILLED = 0.9
"""share of the memory to fill: the rest is for what a measurement does not see"""

_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Packing:
    """The size of packs, and the time of a step where it was measured."""

    pack: Annotated[int, Field(ge=1)]
    """configurations in a pack"""
    members: Annotated[int, Field(ge=1)] | None = None
    """runs trained together"""
    alone_s: _Seconds | None = None
    """a step of one run alone"""
    step_s: _Seconds | None = None
    """a step of all runs of the pack"""
    peak_bytes: int | None = None

    @classmethod
    def stated(cls, resources: Resources) -> Self:
        """What ``resources.pack`` says without a measurement: its number, or one configuration for ``auto``."""
        return cls(1 if resources.pack == "auto" else resources.pack)

    @property
    def gain(self) -> float | None:
        """Device time of a run alone over its share of the pack's; None where it was not measured."""
        if self.members is None or self.alone_s is None or self.step_s is None:
            return None
        return self.alone_s * self.members / self.step_s

    def __str__(self) -> str:
        each = f"{format_count(self.pack, 'configuration')} per pack"
        if self.gain is None or self.members is None or self.members == 1:
            return each
        memory = "" if self.peak_bytes is None else f", {self.peak_bytes / 2**30:.2g} GiB"
        runs = format_count(self.members, "run")
        return f"{each}: {runs} together, {self.gain:.1f}x the throughput of separate runs{memory}"


def choose(
    given: int | None,
    seeds: int,
    most: int,
    profile_steps: Callable[[int], StepCost],
    budget_bytes: int | None = None,
) -> Packing:
    """The packing of configurations with ``seeds`` runs each, in one world.

    ``given``: configurations a pack, or None for the best of 1, 2, 4 ... up to ``most``. ``profile_steps`` is given a
    number of runs; what would take too long, or not fit ``budget_bytes``, is not tried.
    """
    chosen = Packing(given or 1)
    # A pack that is too large: the last one stays. A run that is too large: its trial fails.
    with contextlib.suppress(torch.OutOfMemoryError):
        alone = found = profile_steps(1)
        deadline = time.monotonic() + _PATIENCE_S  # from here: the first measurement pays for loading libraries too
        for pack in [given] if given else [2**k for k in range(most.bit_length())]:
            members = pack * seeds
            if time.monotonic() + _STEPS * found.step_s * members / found.members > deadline:
                break
            if budget_bytes is not None and _expected_bytes(alone, found, members) > budget_bytes:
                break
            found = profile_steps(members) if members > 1 else alone
            packing = Packing(pack, members, alone.step_s, found.step_s, found.peak_bytes)
            if chosen.gain is not None and packing.gain is not None and chosen.gain > _WORTH * packing.gain:
                break
            chosen = packing
    return chosen


def _expected_bytes(alone: StepCost, found: StepCost, members: int) -> float:
    if alone.peak_bytes is None or found.peak_bytes is None:
        return 0.0
    more = found.members - alone.members
    each = (found.peak_bytes - alone.peak_bytes) / more if more else alone.peak_bytes
    return found.peak_bytes + each * (members - found.members)


def largest(space: Space, concurrency: int) -> int:
    """Configurations that ``auto`` may put into one pack: 1 where a dimension keeps them from being in one.

    Different methods do not: a pack holds those of one, of all that have been suggested.
    """
    if not all(name == METHOD or space.is_per_member(name) for name in space.spec.vary):
        return 1
    return max(1, space.spec.trials // (_ROUNDS * concurrency))


def measure_packing(configs: Sequence[RunConfig], resources: Resources, most: int, options: DeviceOptions) -> Packing:
    """Choose, in a worker, how many configurations like this one, whose runs are given, a pack has; up to ``most``."""
    config, worlds = configs[0], of_worlds(configs)
    task_stream = build(config.data, config.protocol)

    def cost(members: int) -> StepCost:
        alike = [config.model_copy(update={"seed": seed}) for seed in range(members)]
        return profile_steps(alike, task_stream, options)

    given = None if resources.pack == "auto" else resources.pack
    budget_bytes = _budget_bytes(resources)
    room = None if budget_bytes is None else budget_bytes // len(worlds)  # each has a pass of its own in memory
    return choose(given, len(worlds[0]), most, cost, room)


def _budget_bytes(resources: Resources) -> int | None:
    """Memory that a pack may fill; None if it is not known."""
    if resources.gpu:
        free, total = torch.cuda.mem_get_info()
        return int(_FILLED * min(free, total * min(1.0, resources.gpu)))
    here = ray.get_runtime_context().get_node_id()
    has: dict[str, float] = next((node["Resources"] for node in ray.nodes() if node["NodeID"] == here), {})
    places = max(1, math.floor(has.get("CPU", 0.0) / resources.cpu))
    return int(_FILLED * has["memory"] / places) if "memory" in has else None


class _Noted(BaseModel):
    """The content of the file: a later launch with the same resources measures nothing again."""

    resources: Resources
    packing: Packing


def noted(sweep: Folder, resources: Resources) -> Packing | None:
    """The packing that an earlier launch chose with these resources; None if there is none."""
    try:
        found = _Noted.model_validate(unsealed_json(sweep.read_bytes(_FILE)))
    except (FileNotFoundError, StoreError, ValueError):  # a damaged one is as good as none: it is measured again
        return None
    return found.packing if found.resources == resources else None


def note(sweep: Folder, resources: Resources, packing: Packing) -> None:
    """Keep the packing in the sweep's folder."""
    sweep.write(_FILE, sealed_json(_Noted(resources=resources, packing=packing).model_dump(mode="json")))
