"""ImageNetSubset: 100 of ImageNet's 1000 classes, short side 256 unless ``data.resize`` says otherwise.

``data.path`` holds either the published lists (``train.txt``, ``test.txt``; their labels are kept), or class folders
named by synset in ``train/`` and ``val/``. Of 1000 class folders the published draw is taken, and a class's label is
its place in the draw. Of 100 folders the draw cannot be known: labels are their sorted order, or that of a file
``classes.txt``; the published class order then meets other classes.
"""

from pathlib import Path

import numpy as np

from trainer.data.config import DataConfig
from trainer.data.files import read_folder
from trainer.data.images import Source
from trainer.errors import DataError

_CLASSES = 100


def read(config: DataConfig) -> Source:
    """Raises DataError for missing files, and for a number of class folders that is neither 100 nor 1000."""
    return read_folder(config, config.stored_side, choose)


def choose(synsets: list[str], folder: Path) -> list[str]:
    """The subset's synsets in the order of their labels."""
    if len(synsets) == _CLASSES:
        return synsets
    if len(synsets) != 1000:
        raise DataError(
            f"{folder}: {len(synsets)} class folders, but ImageNetSubset takes 100 of 1000 (or has its 100); "
            "data.source: image_folder takes any number"
        )
    return [synsets[index] for index in drawn()]


def drawn() -> list[int]:
    """Sorted positions of the published 100 classes among the 1000, in the order of the draw."""
    return [int(index) for index in np.random.RandomState(1993).choice(1000, _CLASSES, replace=False)]
