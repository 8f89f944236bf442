"""Decoded images: one uint8 array a split, its labels, and what identifies them."""

import hashlib
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ImageSet:
    """The decoded images of one split."""

    pixels_NHWC: NDArray[np.uint8]
    """C is 1 or 3; memory-mapped where it comes from the cache"""
    labels_N: NDArray[np.int64]
    """the data set's own labels 0..C-1"""
    digest: str
    """sha256 of shape, pixels and labels"""

    @classmethod
    def of(cls, pixels_NHWC: NDArray[np.uint8], labels_N: NDArray[np.int64]) -> Self:
        """Images that are in memory already."""
        digest = Digest(pixels_NHWC.shape[1:])
        digest.add(pixels_NHWC)
        return cls(pixels_NHWC, labels_N, digest.finish(labels_N))


class Digest:
    """sha256 of a split, fed as it is decoded."""

    def __init__(self, shape_HWC: tuple[int, ...]) -> None:
        self._hash = hashlib.sha256(repr(tuple(int(side) for side in shape_HWC)).encode())

    def add(self, pixels_NHWC: NDArray[np.uint8]) -> None:
        self._hash.update(np.ascontiguousarray(pixels_NHWC).data)

    def finish(self, labels_N: NDArray[np.int64]) -> str:
        self._hash.update(np.ascontiguousarray(labels_N, dtype="<i8").data)
        return self._hash.hexdigest()


@dataclass(frozen=True)
class Source:
    """What a source gives: both splits, decoded, and the names of the classes."""

    train: ImageSet
    test: ImageSet
    class_names: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the decoded pixels and labels of both splits."""
        return hashlib.sha256(f"{self.train.digest}/{self.test.digest}".encode()).hexdigest()[:16]
