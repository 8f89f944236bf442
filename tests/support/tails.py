"""Real images with a tail that nobody has cut: digits, so many of each class."""

from collections.abc import Sequence

import numpy as np

from trainer.data.config import DataConfig
from trainer.data.images import ImageSet, Source
from trainer.data.sources import load

NATURAL = (60, 55, 45, 40, 30, 22, 15, 10, 3, 1)


def natural_source(counts: Sequence[int] = NATURAL, *, test: bool = True) -> Source:
    """The first ``counts`` training images of each digit; with all test images of digits, or with none."""
    digits = load(DataConfig(source="digits", crop=8))
    assert digits.test is not None
    kept_N = np.sort(np.concatenate([np.flatnonzero(digits.train.labels_N == c)[:n] for c, n in enumerate(counts)]))
    train = ImageSet.of(digits.train.pixels_NHWC[kept_N], digits.train.labels_N[kept_N])
    return Source(train, digits.test if test else None, digits.class_names)
