"""Food-101: ``food-101.tar.gz``, or the folder that it unpacks to, in ``data.path``; downloaded if missing.

Images are stored with a short side of 256 unless ``data.resize`` says otherwise.
"""

import json
from pathlib import Path

from trainer.data import files
from trainer.data.config import DataConfig
from trainer.data.images import Source
from trainer.data.layout import Layout
from trainer.data.torchvision_datasets import datasets, fetched, folder
from trainer.errors import DataError


def read(config: DataConfig) -> Source:
    """Labels are the sorted positions of the class names, images in the order of ``meta/*.json``. Raises DataError."""
    where = folder(config)
    home = where / "food-101"
    if not all((home / name).is_dir() for name in ("meta", "images")):
        kind = datasets().Food101
        fetched(lambda: kind(where, download=True), "food101", where, kind._URL)
    train, test = (_meta(home / "meta" / f"{split}.json") for split in ("train", "test"))
    names = sorted(train)
    splits = {
        split: [
            (home / "images" / f"{path}.jpg", label)
            for label, name in enumerate(names)
            for path in listed.get(name, ())
        ]
        for split, listed in (("train", train), ("test", test))
    }
    return files.source(home, Layout(splits, names), config, config.stored_side)


def _meta(file: Path) -> dict[str, list[str]]:
    try:
        return dict(json.loads(file.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{file}: cannot be read ({error})") from error
