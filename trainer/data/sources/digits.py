"""scikit-learn's handwritten digits: 1797 real grey images of 8x8 pixels in the package, no download.

35 images of each class, about a fifth, are the test images: always the same ones. The rest train (139 to 148 a class).
"""

import functools

import numpy as np
import torch
from sklearn.datasets import load_digits

from trainer.data.config import DataConfig
from trainer.data.decode import image_set
from trainer.data.images import Source
from trainer.rng import stream

_TEST_PER_CLASS = 35
_digits = functools.cache(load_digits)  # parsing its text takes longer than a small run's whole training


def read(config: DataConfig) -> Source:
    """``pixels [N, 8, 8, 1]``, grey levels 0..16 spread over 0..255, resized if asked."""
    bunch = _digits()
    labels_N = bunch.target.astype(np.int64)
    pixels_NHWC = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
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
