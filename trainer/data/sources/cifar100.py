"""CIFAR-100, Python version: ``cifar-100-python.tar.gz``, or unpacked, in ``data.path``; downloaded if missing."""

from pathlib import Path
from typing import Any

import numpy as np

from trainer.data.config import DataConfig
from trainer.data.decode import image_set
from trainer.data.images import Source
from trainer.data.torchvision_datasets import datasets, fetched, folder


def read(config: DataConfig) -> Source:
    """``pixels [N, 32, 32, 3]``. Without ``data.path`` the cache folder is used. Raises DataError."""
    where = folder(config)
    train, test = (_split(where, train) for train in (True, False))
    train_set, test_set = (
        image_set(split.data, np.array(split.targets, dtype=np.int64), config.resize) for split in (train, test)
    )
    return Source(train_set, test_set, tuple(train.classes))


def _split(where: Path, train: bool) -> Any:
    kind = datasets().CIFAR100
    try:
        return kind(where, train=train)
    except RuntimeError:  # not there, not unpacked, or not what its checksum says
        return fetched(lambda: kind(where, train=train, download=True), "cifar100", where, kind.url)
