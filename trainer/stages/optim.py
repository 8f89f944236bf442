"""SGD and its learning rate: the section ``optim`` of a run file, and the schedule that it describes."""

import math
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from trainer.section import Section


class OptimConfig(Section):
    """SGD and its schedule, started afresh in every stage."""

    epochs: int = Field(160, ge=1, le=10_000, description="epochs of each task")
    lr: float = Field(0.1, gt=0, le=100, description="learning rate")
    schedule: Literal["milestones", "cosine"] = Field(
        "milestones", description="the learning rate falls at milestones, or along half a cosine to 0"
    )
    milestones: tuple[int, ...] = Field(
        (80, 120), description="epochs after which the learning rate is multiplied by gamma"
    )
    gamma: float = Field(0.1, gt=0, le=1, description="factor of the learning rate at a milestone")
    warmup_epochs: int = Field(0, ge=0, le=1000, description="epochs over which the learning rate rises linearly")
    batch_size: int = Field(128, ge=1, le=65_536, description="images of a step")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of SGD")
    weight_decay: float = Field(5e-4, ge=0, le=1, description="factor of the L2 penalty on all weights")
    clip_norm: float | None = Field(None, gt=0, description="largest norm of a run's gradient; null: not clipped")

    @field_validator("milestones", mode="before")
    @classmethod
    def _list_to_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _milestones_rise(self) -> Self:
        if list(self.milestones) != sorted(set(self.milestones)) or any(m < 1 for m in self.milestones):
            raise ValueError("milestones must be rising epochs from 1 on")
        return self


def learning_rate(optim: OptimConfig, epoch: int) -> float:
    """Of a 0-based epoch: linear warm-up, then divided at each milestone that is past, or along half a cosine."""
    rise = min(1.0, (epoch + 1) / optim.warmup_epochs) if optim.warmup_epochs else 1.0
    if optim.schedule == "cosine":
        return optim.lr * rise * (1 + math.cos(math.pi * epoch / optim.epochs)) / 2
    return float(optim.lr * rise * optim.gamma ** sum(milestone <= epoch for milestone in optim.milestones))


def rescheduled(optim: OptimConfig, share: float, **changes: Any) -> OptimConfig:
    """``optim`` for a stage of ``share`` times its epochs, at least one; its rate is constant but for ``changes``."""
    constant = {"schedule": "milestones", "milestones": (), "warmup_epochs": 0}
    return optim.model_copy(update={**constant, "epochs": max(1, round(share * optim.epochs)), **changes})
