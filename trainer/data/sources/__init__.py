"""Where images come from: one file a source, each with ``read(config) -> Source``; the file's name is the source's."""

import sys

import numpy as np

from trainer.data.chosen_classes import choose
from trainer.data.config import DataConfig
from trainer.data.decode import named
from trainer.data.images import Source, first_ten
from trainer.errors import ConfigError, DataError
from trainer.registry import module, plugins
from trainer.words import WARNING

__path__ = [*__path__, *plugins("sources")]


def load(config: DataConfig) -> Source:
    """Read, and decode if that was not done before, the data set that ``config`` names. What is passed over is printed.

    Raises DataError or ConfigError, one line each, for what is missing, empty, corrupt or contradictory.
    """
    source = read(config)
    for line in source.said:
        print(line, file=sys.stderr)
    for images in source.splits.values():
        if images.encoded and (bad := images.encoded.bad):
            count = f"{len(bad)} of {len(bad) + len(images.labels_N)} images"
            print(f"{WARNING}{images.encoded.name}: {count} skipped: {named(bad)}", file=sys.stderr)
    return checked(source)


def read(config: DataConfig) -> Source:
    """What the source gives of ``data.classes``, unchecked; nothing is printed.

    Raises DataError or ConfigError where it gives nothing, or lacks one of the classes.
    """
    found = module("trainer.data.sources", config.source)
    if not callable(getattr(found, "read", None)):
        raise ConfigError(f"{found.__file__} must define read(config) -> Source", field="data.source")
    source: Source = found.read(config)
    return source if config.classes is None else choose(source, config.classes)


def checked(source: Source) -> Source:
    """The source, in colour if one of its splits is. Raises DataError for classes without images, or other sizes."""
    classes = len(source.class_names)
    for split, images in source.splits.items():
        if not len(images.used_N):
            raise DataError(f"{split}: no images")
        empty = np.setdiff1d(np.arange(classes), images.labels_N)
        if len(empty) and split != "validation":  # a class without validation images is left out of accuracies
            names = first_ten(source.class_names[label] for label in empty)
            kind = f"class {names} has no images" if len(empty) == 1 else f"classes without images: {names}"
            raise DataError(f"{split}: {kind}")
    if {images.pixels_NHWC.shape[3] for images in source.splits.values()} == {1, 3}:
        source = source.coloured()
    shapes = {split: "x".join(map(str, images.pixels_NHWC.shape[1:])) for split, images in source.splits.items()}
    for split, shape in shapes.items():
        if shape != shapes["train"]:
            raise DataError(
                f"training images are {shapes['train']} (height, width, channels), {split} images {shape}; "
                "see data.resize"
            )
    return source
