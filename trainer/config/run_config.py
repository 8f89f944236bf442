"""RunConfig: everything that decides a result, and nothing else.

No output path, device, precision or number of members is in here. ``run_id`` is the hash of the
content, so two equal configurations are the same run wherever and whenever they are met.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from trainer.config.explain import explain
from trainer.data.config import DataConfig, Protocol
from trainer.data.world import World, number_or_world
from trainer.errors import ConfigError
from trainer.limits import LARGEST_SEED
from trainer.methods.base import METHODS, Method
from trainer.nets.config import NetConfig
from trainer.section import Section
from trainer.stages.exemplars import MemoryConfig
from trainer.stages.optim import OptimConfig
from trainer.stages.second_stage import SecondStage


class RunConfig(Section):
    """One run: one configuration and one seed."""

    data: DataConfig = DataConfig()
    protocol: Protocol = Protocol()
    net: NetConfig = NetConfig()
    method: SerializeAsAny[Method]
    memory: MemoryConfig = MemoryConfig()
    optim: OptimConfig = OptimConfig()
    stage2: SecondStage | None = Field(None, description="null: none")
    seed: int = Field(
        0, ge=0, le=LARGEST_SEED, description="seed of initial weights, shuffles, augmentation and random exemplars"
    )
    world: Annotated[World | None, BeforeValidator(number_or_world, json_schema_input_type=int | World | None)] = Field(
        None,
        description="the class order and the draw of the tail that the run is a repetition in, in place of "
        "`protocol.class_order` and `data.imbalance.seed`; null: those",
    )

    @field_validator("method", mode="before")
    @classmethod
    def _method_by_name(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        try:
            return _method(value)
        except ConfigError as error:  # as a finding, so that pydantic looks for those of other fields too
            raise PydanticCustomError("config_error", "{error}", {"error": error}) from None

    @model_validator(mode="after")
    def _of_its_world(self) -> Self:
        vars(self).update(self._drawn_from(self.world))
        return self

    def repetition(self, seed: int, world: World | None = None) -> Self:
        """The same configuration with this seed, in this world (default: with the class order and tail of its own)."""
        return self.model_copy(update={"seed": seed, "world": world or self.world, **self._drawn_from(world)})

    def _drawn_from(self, world: World | None) -> dict[str, Any]:
        """The sections that a world decides on, as it has them."""
        if world is None:
            return {}
        imbalance = self.data.imbalance.model_copy(update={"seed": world.tail})
        return {
            "data": self.data.model_copy(update={"imbalance": imbalance}),
            "protocol": self.protocol.model_copy(update={"class_order": world.order}),
        }

    def as_dict(self) -> dict[str, Any]:
        """Every field written out, defaults too, under the names that files use, as YAML can hold it.

        But for ``world`` and ``protocol.stop_after`` where they are null: they mark one repetition among others, and a
        part of a run.
        """
        dumped = self.model_dump(mode="json", by_alias=True)
        if self.world is None:
            del dumped["world"]
        if self.protocol.stop_after is None:
            del dumped["protocol"]["stop_after"]
        return {**dumped, "method": {"name": self.method.name, **dumped["method"]}}

    @property
    def second_stage(self) -> SecondStage | None:
        """``stage2``, if it has any epochs."""
        return self.stage2 if self.stage2 is not None and self.stage2.epochs else None

    @property
    def run_id(self) -> str:
        """Hash of the content."""
        return content_hash(self.identity())

    @property
    def config_id(self) -> str:
        """Hash of the content but for the seed: runs that differ in their seed alone share it.

        In worlds, runs that differ in their world share it too.
        """
        drawn = () if self.world is None else ("protocol.class_order", "data.imbalance.seed")
        return content_hash(self._without("data.path", "seed", "world", *drawn))

    @property
    def first_task_id(self) -> str:
        """Hash of what acts in the first task: runs that share it share that task's training."""
        later = (f"method.{name}" for name in self.method.fields_from_task(1))
        return content_hash(self._without("data.path", "world", *later))

    def trains_together_with(self, other: Self) -> bool:
        """Whether both can be members of one pass: they differ only in the seed and in per-member fields."""
        free = ("seed", *(f"method.{name}" for name in self.method.per_member_fields()))
        return self.method.name == other.method.name and self._without(*free) == other._without(*free)

    def identity(self) -> dict[str, Any]:
        """What names the run: all but where the images lie, which decides nothing; the store adds their fingerprint."""
        return self._without("data.path")

    def _without(self, *fields: str) -> dict[str, Any]:
        """``as_dict`` but for these dotted fields."""
        content = self.as_dict()
        for field in fields:
            *sections, name = field.split(".")
            within = content
            for section in sections:
                within = within[section]
            within.pop(name, None)
        return content


def _method(fields: Mapping[str, Any]) -> Method:
    """The method with these fields, its ``name`` among them. Raises ConfigError."""
    if "name" not in fields:
        raise ConfigError("is missing", field="method.name", allowed=", ".join(METHODS.names()))
    method = METHODS.find(fields["name"])
    try:
        return method.model_validate({k: v for k, v in fields.items() if k != "name"})
    except ValidationError as error:
        raise explain(error, method, prefix="method.", name=fields["name"]) from None


def content_hash(content: Any) -> str:
    """16 hex digits of the canonical JSON of ``content``."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
