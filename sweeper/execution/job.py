"""The orders of a driver to its workers: the job of the sweep and each Ray trial's configuration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from sweeper.search.space import Resources
from sweeper.store.folder import Folder
from trainer.config.files import parse_run
from trainer.config.run_config import RunConfig, content_hash
from trainer.results.provenance import source_digest
from trainer.training.options import DeviceOptions

RESULT = "message"
"""key of a Ray Tune result that holds a message"""

_SET_UP, _PACK = "set_up", "pack"


@dataclass(frozen=True)
class FolderSlot:
    """A checkpoint in a results folder, on any filesystem."""

    folder: Folder
    name: str

    def read(self) -> bytes | None:
        try:
            return self.folder.read_bytes(self.name)
        except FileNotFoundError:
            return None

    def write(self, content: bytes) -> None:
        self.folder.write(self.name, content)

    def discard(self) -> None:
        self.folder.delete(self.name)

    def __str__(self) -> str:
        return f"{self.folder}/{self.name}"


@dataclass(frozen=True)
class Job:
    """The settings that all workers of a sweep share."""

    folder: str
    """path or URI of the sweep's folder, as every node reaches it"""
    resources: Resources
    metric: str
    """column of a task that is reported after it"""
    reuses_first_tasks: bool = False
    """whether a first task is kept for configurations that agree on it, and not reported"""
    decisions: Any = None
    """handle of an actor ``PruneDecisions``; None without pruning"""
    code: str = field(default_factory=source_digest)
    """the trainer's files, as the driver has them: numbers of other code are not this sweep's"""

    @property
    def options(self) -> DeviceOptions:
        """The device options of a worker, by the resources of a trial."""
        return DeviceOptions(device="cuda" if self.resources.gpu else "cpu", precision=self.resources.precision)

    def checkpoints(self, pack: str) -> Folder:
        """The folder of a pack's checkpoints, which are of no use once it has ended."""
        return Folder.at(self.folder).child("checkpoints", pack)

    def first_task_checkpoint(self, first_task_id: str) -> FolderSlot:
        """The checkpoint of a shared first task."""
        return FolderSlot(Folder.at(self.folder).child("base"), f"{first_task_id}.pt")


@dataclass(frozen=True)
class SetUp:
    """The work to do before the first pack."""

    configs: Sequence[RunConfig]
    """runs of the first configuration"""
    largest: int | None
    """configurations of the largest pack to measure; None: packs are known"""
    first_tasks: int
    """repetitions whose shared first task is still to be trained"""

    @property
    def pack(self) -> str:
        """Names its checkpoints."""
        return first_task_pack(self.configs)

    @classmethod
    def of_trial(cls, trial: Mapping[str, Any]) -> Self | None:
        """The inverse of ``as_trial``; None for the configuration of a pack."""
        found = trial.get(_SET_UP)
        return found and cls(_parsed(found["configs"]), found["largest"], found["first_tasks"])

    def as_trial(self) -> dict[str, Any]:
        """The configuration of the Ray trial that does this work."""
        configs = [config.as_dict() for config in self.configs]
        return {_SET_UP: {"configs": configs, "largest": self.largest, "first_tasks": self.first_tasks}}


def first_task_pack(configs: Sequence[RunConfig]) -> str:
    """What the checkpoints of a first task are called that these runs are trained in together."""
    return content_hash(["first task", *(config.run_id for config in configs)])


def pack_as_trial(pack: Mapping[int, Sequence[RunConfig]]) -> dict[str, Any]:
    """The configuration of a Ray trial that trains these runs, by number of their configuration."""
    return {_PACK: [{"number": n, "configs": [c.as_dict() for c in own]} for n, own in pack.items()]}


def pack_of_trial(trial: Mapping[str, Any]) -> dict[int, list[RunConfig]]:
    """The inverse of ``pack_as_trial``."""
    return {entry["number"]: _parsed(entry["configs"]) for entry in trial[_PACK]}


def _parsed(configs: Sequence[dict[str, Any]]) -> list[RunConfig]:
    return [parse_run(content, file="the sweep") for content in configs]
