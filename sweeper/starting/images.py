"""Look at the images in a folder, and pick what a first run of them needs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from sweeper.starting.files import Images
from trainer.config.files import parse_run
from trainer.data import guess
from trainer.data.config import DataConfig
from trainer.data.sources import load


def survey(
    name: str,
    path: Path,
    *,
    source: str | None,
    size: Callable[[int], int],
    tasks: Callable[[int], int],
    gpu: bool | None,
) -> Images:
    """Find out what the images are, decode them, and say so.

    ``size`` and ``tasks`` take what is picked and return what is to be. ``source``, ``gpu``: None to find out. Raises
    UserError, one line, for images that cannot be used.
    """
    found, short_side, uniform = guess.look(path, source, DataConfig().image_column)
    wants_gpu = torch.cuda.is_available() if gpu is None else gpu
    pixels = size(guess.picked_size(short_side, uniform=uniform, gpu=wants_gpu))
    images = Images(name, found, path, short_side, uniform, pixels, False, (1,), 1, wants_gpu)
    read = load(_data(images))
    counts = tuple(np.bincount(read.train.labels_N, minlength=len(read.class_names)).tolist())
    grey = read.train.pixels_NHWC.shape[3] == 1
    print(
        f"{found}: {len(read.train.labels_N)} training images of {len(counts)} classes, {min(counts)} to {max(counts)} "
        f"each, {'grey' if grey else 'in colour'}, {short_side} pixels on the short side"
    )
    picked = tasks(guess.picked_tasks(len(counts)))
    return Images(name, found, path, short_side, uniform, pixels, grey, counts, picked, wants_gpu)


def _data(images: Images) -> DataConfig:
    """The section ``data`` that reads them, as the run file has it, so that they are decoded once."""
    values = {"source": images.source, "path": str(images.path), "resize": images.resize, "crop": images.size}
    return parse_run({"method": {"name": "finetune"}, "data": {**values, "on_bad_image": "skip"}}).data
