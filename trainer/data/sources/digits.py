"""scikit-learn's handwritten digits: 1797 real grey images of 8x8 pixels in the package, no download.

35 images of each class, about a fifth, are the test images: always the same ones. The rest train (139 to 148 a class).
"""

import functools
from importlib import util
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.data.config import DataConfig
from trainer.data.decode import image_set
from trainer.data.images import Source
from trainer.rng import stream

_TEST_PER_CLASS = 35
_FILE = "datasets/data/digits.csv.gz"


def read(config: DataConfig) -> Source:
    """``pixels [N, 8, 8, 1]``, grey levels 0..16 spread over 0..255, resized if asked."""
    rows = _rows()
    labels_N = rows[:, -1].astype(np.int64)
    pixels_NHWC = np.rint(rows[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    test_N = np.zeros(len(labels_N), dtype=bool)
    for label in range(10):
        index_n = np.flatnonzero(labels_N == label)
        shuffled = torch.randperm(len(index_n), generator=stream(0, "digits", "test", label)).numpy()
        test_N[index_n[shuffled[:_TEST_PER_CLASS]]] = True
    return Source(
        train=image_set(pixels_NHWC[~test_N], labels_N[~test_N], config.resize),
        test=image_set(pixels_NHWC[test_N], labels_N[test_N], config.resize),
        class_names=tuple(str(label) for label in range(10)),
    )


@functools.cache
def _rows() -> NDArray[np.float64]:
    """``[N, 64 + 1]``: grey levels and label. The file itself: ``load_digits`` takes a second to import, for SciPy."""
    package = util.find_spec("sklearn")
    folder = Path(((package and package.submodule_search_locations) or [""])[0])
    rows: NDArray[np.float64] = np.loadtxt(folder / _FILE, delimiter=",")
    return rows
