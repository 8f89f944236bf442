"""One NumPy file of images and labels, as MedMNIST has them: ``train_images``, ``train_labels``, ``val_images``, ...

The keys ``x_train``, ``y_train``, ... and ``images``, ``labels`` alone are read too. Images are ``[N, H, W]`` or
``[N, H, W, C]``, labels ``[N]`` or ``[N, 1]``.
"""

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trainer.data import location
from trainer.data.config import DataConfig
from trainer.data.decode import image_set
from trainer.data.images import ImageSet, Source, first_ten, numbered
from trainer.data.label_column import holds_labels, label_values
from trainer.data.layout import SPLITS, split_of
from trainer.data.pixels import eight_bit_arrays
from trainer.errors import DataError
from trainer.words import NOTE

_IMAGES, _LABELS = ("images", "image", "x", "data"), ("labels", "label", "y", "targets")


def read(config: DataConfig) -> Source:
    """Labels are 0..C-1 in the order of their values. Raises DataError for keys and shapes that are none of these."""
    file = _file(location.found(config))
    arrays, said = _arrays(file)
    labels = {split: _labels(arrays[split][1], f"{file}: {split} labels") for split in SPLITS if split in arrays}
    values_C, numbers = numbered(labels, lambda split: file)
    found: dict[str, ImageSet] = {}
    for split, labels_N in numbers.items():
        pixels_NHWC = _pixels(arrays[split][0], f"{file}: {split} images", config)
        if len(pixels_NHWC) != len(labels_N):
            raise DataError(f"{file}: {len(pixels_NHWC)} {split} images, but {len(labels_N)} labels")
        found[split] = image_set(pixels_NHWC, labels_N, config.resize)
    return Source.of_splits(found, map(str, values_C), said)


def _file(path: Path) -> Path:
    if path.is_file():
        return path
    found = sorted(path.glob("*.npz"))
    if len(found) != 1:
        names = f"several .npz files ({', '.join(file.name for file in found)}): give one" if found else "no .npz file"
        raise DataError(f"data.path: {path} holds {names}{'' if found else location.hint(path)}")
    return found[0]


def _arrays(file: Path) -> tuple[dict[str, tuple[NDArray[Any], NDArray[Any]]], tuple[str, ...]]:
    """Images and labels of each split, and a line about the keys that are not read."""
    try:
        with np.load(file, allow_pickle=False) as opened:
            keys = sorted(opened.files)
            by_kind = {_kind(key): opened[key] for key in keys if _kind(key)}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(f"{file}: not a readable NumPy file of plain arrays ({error})") from error
    splits = [split for split in SPLITS if (split, True) in by_kind and (split, False) in by_kind]
    if "train" not in splits:
        raise DataError(f"{file}: no train_images and train_labels, only the keys {', '.join(keys) or 'none'}")
    others = [key for key in keys if (_kind(key) or ("", False))[0] not in splits]
    said = (f"{NOTE}{file}: keys passed over: {first_ten(others)}",) if others else ()
    return {split: (by_kind[split, True], by_kind[split, False]) for split in splits}, said


def _kind(key: str) -> tuple[str, bool] | None:
    """The split that a key says, and whether it holds images; None for a key that says something else."""
    words = re.split(r"[_\W]+", key.lower())
    splits = [split for word in words if (split := split_of(word))] or ["train"]
    kinds = [word in _IMAGES for word in words if word in (*_IMAGES, *_LABELS)]
    return (splits[0], kinds[0]) if len(kinds) == 1 and len(words) <= 2 else None


def _labels(labels: NDArray[Any], where: str) -> NDArray[Any]:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(f"{where} have the shape {list(labels.shape)}: one label an image is needed")
    column = pa.chunked_array([pa.array(labels)])
    if not holds_labels(column.type):
        raise DataError(f"{where} are {labels.dtype}, neither integers nor text")
    return label_values(column, None, where)


def _pixels(images: NDArray[Any], where: str, config: DataConfig) -> NDArray[np.uint8]:
    """``[N, H, W, 1]`` or ``[N, H, W, 3]``."""
    if images.ndim == 3:
        images = images[..., None]
    elif images.ndim == 4 and images.shape[3] not in (1, 3, 4) and images.shape[1] in (1, 3, 4):
        images = images.transpose(0, 2, 3, 1)  # channels first
    if images.ndim != 4 or images.shape[3] not in (1, 3, 4):
        raise DataError(f"{where} have the shape {list(images.shape)}, not [N, height, width] with 1, 3 or 4 channels")
    return eight_bit_arrays(images, where, config)
