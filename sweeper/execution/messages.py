"""The messages of a worker to the driver: one union of types, validated on arrival."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from sweeper.execution.packing import Packing
from trainer.results.rows import RunResult


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")


class PackingMeasured(_Message):
    """The best size of a pack, as measured before the first one."""

    kind: Literal["packing-measured"] = "packing-measured"
    packing: Packing


class PackingNotMeasured(_Message):
    """The reason why packs could not be measured."""

    kind: Literal["packing-not-measured"] = "packing-not-measured"
    reason: str


class SetUpDone(_Message):
    """The set-up is done: everything that all configurations share exists."""

    kind: Literal["set-up-done"] = "set-up-done"
    first_task_s: float | None
    """device seconds of training the shared first task; None if it was not trained"""


class TaskDone(_Message):
    """A pack has finished a task."""

    kind: Literal["task-done"] = "task-done"
    pack: str
    task: int
    tasks: int
    values: dict[int, float]
    """the objective's metric by trial, mean over seeds; NaN where there is none"""


class EndedTrial(_Message):
    """A configuration all of whose runs have ended."""

    number: int
    results: tuple[RunResult, ...]


class TrialsEnded(_Message):
    """Configurations of a pack that have ended."""

    kind: Literal["trials-ended"] = "trials-ended"
    pack: str
    attempt: str
    ended: tuple[EndedTrial, ...]
    training: bool
    """whether other configurations of the pack are still being trained"""


class PackSplit(_Message):
    """A pack did not fit the device's memory and is trained in two halves."""

    kind: Literal["pack-split"] = "pack-split"
    pack: str


class Failed(_Message):
    """The configuration cannot be trained, here or elsewhere."""

    kind: Literal["failed"] = "failed"
    reason: str


class Interrupted(_Message):
    """A worker had to stop for a reason that is not the configuration's: a disk, a device, the network."""

    kind: Literal["interrupted"] = "interrupted"
    reason: str


class Evicted(_Message):
    """A worker stopped because its process or its node ends soon; a checkpoint holds what it has trained."""

    kind: Literal["evicted"] = "evicted"
    reason: str


class Warned(_Message):
    """Something that the user should know, and that stops nothing."""

    kind: Literal["warned"] = "warned"
    text: str


Message = (
    PackingMeasured
    | PackingNotMeasured
    | SetUpDone
    | TaskDone
    | TrialsEnded
    | PackSplit
    | Failed
    | Interrupted
    | Evicted
    | Warned
)

_ADAPTER: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="kind")])


def to_json(message: Message) -> str:
    """The message as text; every digit, NaN and infinity survive."""
    return message.model_dump_json()


def from_json(text: str) -> Message:
    """The message that ``to_json`` was given. Raises pydantic.ValidationError for any other text."""
    return _ADAPTER.validate_json(text)
