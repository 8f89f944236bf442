"""A folder of your own images: ``train/CLASS/*``, ``test/CLASS/*`` and ``val/CLASS/*``, or ``CLASS/*`` alone; or the
lists ``train.txt`` and ``test.txt`` of ``path label`` lines.

Labels are the sorted positions of the class folders' names; a file ``classes.txt``, one name a line, gives another
order or a choice of classes.
"""

from trainer.data.config import DataConfig
from trainer.data.files import read_folder
from trainer.data.images import Source


def read(config: DataConfig) -> Source:
    """Raises DataError for what is missing or bad, ConfigError where images of several sizes lack ``data.resize``."""
    return read_folder(config, config.resize, lambda names, folder: names)
