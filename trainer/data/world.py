"""A world: what a stream of tasks is drawn from. Runs of one configuration in several worlds are its repetitions."""

import hashlib
import json
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, field_validator

from trainer.data.config import ClassOrder, DataConfig, Protocol
from trainer.limits import LARGEST_WORLD
from trainer.section import Section


class World(Section):
    """The order in which classes are learnt, and the draw of the tail. A number is short for both, drawn from it."""

    class_order: Annotated[
        int | tuple[int, ...], BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
    ] = Field(description="seed of the order in which classes are learnt, or the order itself, all classes")
    tail: int = Field(
        ge=0, le=LARGEST_WORLD, description="seed of the draw of the tail's images and of the shuffle of its sizes"
    )

    @field_validator("class_order")
    @classmethod
    def _a_seed(cls, value: int | tuple[int, ...]) -> int | tuple[int, ...]:
        if isinstance(value, int):
            _check(value)
        return value

    @classmethod
    def drawn(cls, number: int) -> Self:
        """The world of this number, 0 or more and below 2**32: the number is the seed of the class order.

        The seed of the tail is a hash of it. With one seed for both, a shuffle of sizes would be that of the classes,
        and the same classes be the rare ones in every world.
        """
        return cls(class_order=number, tail=_tail_of(number))

    @classmethod
    def of(cls, data: DataConfig, protocol: Protocol) -> Self | None:
        """The world that a configuration states; None where it keeps the data set's own order."""
        order = protocol.class_order
        found = order.seed if order.classes is None else order.classes
        return None if found is None else cls(class_order=found, tail=data.imbalance.seed)

    @property
    def order(self) -> ClassOrder:
        """The class order as a run file states it."""
        if isinstance(self.class_order, int):
            return ClassOrder(seed=self.class_order)
        return ClassOrder(seed=None, classes=self.class_order)

    def __str__(self) -> str:
        """``7`` for the world drawn from 7, otherwise ``1993/0``: class order and tail."""
        if isinstance(self.class_order, int):
            drawn = self.tail == _tail_of(self.class_order)
            return f"{self.class_order}" if drawn else f"{self.class_order}/{self.tail}"
        digest = hashlib.sha256(json.dumps(self.class_order).encode()).hexdigest()
        return f"order {digest[:8]}/{self.tail}"


def number_or_world(value: Any) -> Any:
    """The fields of the world that a whole number is short for; anything else as it is.

    Raises ValueError for a number that is no seed.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        _check(value)
        return {"class_order": value, "tail": _tail_of(value)}
    return value


def _check(seed: int) -> None:
    if not 0 <= seed <= LARGEST_WORLD:
        raise ValueError(f"{seed} is not allowed; allowed: 0 to {LARGEST_WORLD}")


def _tail_of(number: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"tail/{number}".encode(), digest_size=4).digest(), "little")
