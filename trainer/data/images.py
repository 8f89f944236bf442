"""Decoded images: one uint8 array a split, its labels, and what identifies them."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainer.errors import DataError

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class ImageSet:
    """The decoded images of one split."""

    pixels_NHWC: NDArray[np.uint8]
    """C is 1 or 3; memory-mapped where it comes from the cache"""
    labels_N: Labels
    """the data set's own labels 0..C-1"""
    digest: str
    """sha256 of shape, pixels and labels"""

    @classmethod
    def of(cls, pixels_NHWC: NDArray[np.uint8], labels_N: Labels) -> Self:
        """Images with their digest."""
        digest = hashlib.sha256(repr(pixels_NHWC.shape[1:]).encode())
        digest.update(np.ascontiguousarray(pixels_NHWC).data)
        digest.update(np.ascontiguousarray(labels_N, dtype="<i8").data)
        return cls(pixels_NHWC, labels_N, digest.hexdigest())

    def coloured(self) -> Self:
        """With three channels: grey images become colour images beside those that have colour."""
        shape = (*self.pixels_NHWC.shape[:3], 3)
        if self.pixels_NHWC.shape == shape:
            return self
        digest = hashlib.sha256(f"{self.digest} in colour".encode()).hexdigest()
        return replace(self, pixels_NHWC=np.broadcast_to(self.pixels_NHWC, shape), digest=digest)


@dataclass(frozen=True)
class Source:
    """What a source gives: both splits, decoded, and the names of the classes."""

    train: ImageSet
    test: ImageSet
    class_names: tuple[str, ...]
    said: tuple[str, ...] = ()
    """a line about each kind of file that is there and is not read"""

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the decoded pixels and labels of both splits."""
        return hashlib.sha256(f"{self.train.digest}/{self.test.digest}".encode()).hexdigest()[:16]


def known_labels(train_N: ArrayLike, test_N: ArrayLike, where: str) -> NDArray[Any]:
    """The labels of the training images, as the data set writes them, sorted: a class's number is its place here.

    Raises DataError, beginning with ``where``, for a test label that no training image has.
    """
    values_C = np.unique(train_N)
    strangers = np.setdiff1d(test_N, values_C)
    if len(strangers):
        raise DataError(f"{where}: label {strangers[0]} of the test images has no training images")
    return values_C
