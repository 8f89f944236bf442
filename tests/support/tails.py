"""Real images with a tail that nobody has cut: digits, so many of each class."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

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


def save(source: Source, folder: Path) -> None:
    """Its training images as files in class folders, without splits; the fourth of each class twice."""
    images = source.train
    for number, (pixels_HWC, label) in enumerate(zip(images.pixels_NHWC, images.labels_N, strict=True)):
        file = folder / f"kind {source.class_names[label]}" / f"IMG_{number:04}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels_HWC[..., 0]).save(file)
        if len(list(file.parent.iterdir())) == 4:
            file.with_name(f"{file.stem} (1).png").write_bytes(file.read_bytes())
