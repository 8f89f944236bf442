"""Images taken from the training images: a class-balanced validation split, and the hold-out of the released code."""

from collections.abc import Sequence

import numpy as np
import torch

from trainer.data.config import Evaluation
from trainer.data.long_tail import Indices
from trainer.errors import ConfigError
from trainer.rng import stream


def holdout_count(count: int, fraction: float) -> int:
    """Images of a class of ``count`` that are left out: rounded half to even, as NumPy does, but never all."""
    return min(int(np.round(fraction * count)), count - 1)


def validation(indices_C: Sequence[Indices], evaluation: Evaluation) -> list[Indices]:
    """``per_class`` images of each label, rising. Raises ConfigError where a class has no more than that."""
    smallest = min(len(index_n) for index_n in indices_C)
    if evaluation.per_class >= smallest:
        raise ConfigError(
            f"{evaluation.per_class} validation images a class leave none to train on",
            field="data.evaluation.per_class",
            allowed=f"1 to {smallest - 1}: the smallest class has {smallest}",
        )
    return _draw(indices_C, [evaluation.per_class] * len(indices_C), evaluation.seed, "validation")


def holdout(indices_C: Sequence[Indices], fraction: float, seed: int) -> list[Indices]:
    """The images of each label that are left out, rising."""
    return _draw(indices_C, [holdout_count(len(index_n), fraction) for index_n in indices_C], seed, "holdout")


def without(indices_C: Sequence[Indices], taken_C: Sequence[Indices]) -> list[Indices]:
    """What is left of each label, rising."""
    return [np.setdiff1d(index_n, taken_n) for index_n, taken_n in zip(indices_C, taken_C, strict=True)]


def _draw(indices_C: Sequence[Indices], counts_C: Sequence[int], seed: int, use: str) -> list[Indices]:
    """So many of each label's indices, rising. What is drawn for a label depends on no other label."""
    found = []
    for label, (index_n, count) in enumerate(zip(indices_C, counts_C, strict=True)):
        shuffled = torch.randperm(len(index_n), generator=stream(seed, use, label)).numpy()
        found.append(np.sort(index_n[shuffled[:count]]))
    return found
