"""Decoded images: one uint8 array a split, its labels, and what identifies them."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainer.errors import DataError

Labels = NDArray[np.int64]
Contents = NDArray[np.uint64]


@dataclass(frozen=True)
class Encoded:
    """The image files of a split, before they were decoded and resized."""

    name: str
    """of the split, for messages"""
    size_N2: NDArray[np.int64]
    """width and height in pixels, upright"""
    modes: Mapping[str, int]
    """images of each of Pillow's modes"""
    formats: Mapping[str, int]
    """images of each of Pillow's formats"""
    turned: int
    """images that were turned or mirrored as their EXIF orientation says"""
    names: Callable[[], list[str]]
    """of the files or rows, looked up only where one is to be named"""
    bad: tuple[tuple[str, str], ...] = ()
    """images that could not be read and are left out, each with the reason"""


class PixelDigest:
    """sha256 of the shape of images, their pixels and labels, for pixels that come piece by piece."""

    def __init__(self, shape: Sequence[int]) -> None:
        """``shape``: height, width and channels of each image."""
        self._hash = hashlib.sha256(repr(tuple(shape)).encode())

    def update(self, pixels: bytes | memoryview) -> None:
        """Take in more images, row by row."""
        self._hash.update(pixels)

    def with_labels(self, labels_N: Labels) -> str:
        """The digest, once all images have come."""
        self._hash.update(np.ascontiguousarray(labels_N, dtype="<i8").data)
        return self._hash.hexdigest()


@dataclass(frozen=True)
class ImageSet:
    """The decoded images of one split."""

    pixels_NHWC: NDArray[np.uint8]
    """C is 1 or 3; memory-mapped where it comes from the cache"""
    labels_N: Labels
    """the data set's own labels 0..C-1; -1: of a class that ``data.classes`` leaves out"""
    digest: str
    """sha256 of shape, pixels and labels"""
    content_N: Contents
    """a hash of each image's pixels before it was resized: equal images have equal ones"""
    encoded: Encoded | None = None
    """None for images that did not come as files"""

    @property
    def used_N(self) -> NDArray[np.int64]:
        """The images of classes that are not left out, rising."""
        return np.flatnonzero(self.labels_N >= 0)

    @classmethod
    def of(cls, pixels_NHWC: NDArray[np.uint8], labels_N: Labels, content_N: Contents | None = None) -> Self:
        """Images with their digest. ``content_N``: None for images that are as they were."""
        digest = PixelDigest(pixels_NHWC.shape[1:])
        digest.update(np.ascontiguousarray(pixels_NHWC).data)
        own = contents(pixels_NHWC) if content_N is None else content_N
        return cls(pixels_NHWC, labels_N, digest.with_labels(labels_N), own)

    def coloured(self) -> Self:
        """With three channels: grey images become colour images beside those that have colour."""
        shape = (*self.pixels_NHWC.shape[:3], 3)
        if self.pixels_NHWC.shape == shape:
            return self
        digest = hashlib.sha256(f"{self.digest} in colour".encode()).hexdigest()
        return replace(self, pixels_NHWC=np.broadcast_to(self.pixels_NHWC, shape), digest=digest)


@dataclass(frozen=True)
class Source:
    """What a source gives: its splits, decoded, and the names of the classes."""

    train: ImageSet
    test: ImageSet | None
    """None where the data set has no test images: some of ``train`` are set apart then"""
    class_names: tuple[str, ...]
    validation: ImageSet | None = None
    """the data set's own, where it has any besides its test images"""
    said: tuple[str, ...] = ()
    """a line about each kind of file that is there and is not read; it begins with ``NOTE`` or ``WARNING``"""
    test_name: str = "test"
    """what the data set calls its test images"""

    @classmethod
    def of_splits(cls, splits: Mapping[str, ImageSet], class_names: Iterable[str], said: tuple[str, ...] = ()) -> Self:
        """From the splits by name: validation images are the test images of a data set that has no others."""
        test, validation, name = splits.get("test"), splits.get("validation"), "test"
        if test is None and validation is not None:
            test, validation, name = validation, None, "validation"
        return cls(splits["train"], test, tuple(class_names), validation, said, test_name=name)

    @property
    def splits(self) -> dict[str, ImageSet]:
        """The splits that there are, by name."""
        found = {"train": self.train, "test": self.test, "validation": self.validation}
        return {name: images for name, images in found.items() if images is not None}

    def coloured(self) -> Self:
        """With three channels in every split."""
        test, validation = (images and images.coloured() for images in (self.test, self.validation))
        return replace(self, train=self.train.coloured(), test=test, validation=validation)

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the decoded pixels and labels of all splits."""
        digests = [self.train.digest, self.test.digest if self.test else ""]
        digests += [self.validation.digest] if self.validation else []
        return hashlib.sha256("/".join(digests).encode()).hexdigest()[:16]


def content(pixels_HWC: NDArray[np.uint8]) -> int:
    """64 bits of a hash of one image's shape and pixels."""
    digest = hashlib.blake2b(repr(pixels_HWC.shape).encode(), digest_size=8)
    digest.update(np.ascontiguousarray(pixels_HWC).data)
    return int.from_bytes(digest.digest(), "little")


def contents(pixels_NHWC: NDArray[np.uint8]) -> Contents:
    """The ``content`` of each image."""
    return np.array([content(pixels_HWC) for pixels_HWC in pixels_NHWC], dtype=np.uint64)


def first_ten(names: Iterable[object], separator: str = ", ") -> str:
    """The first ten names, and how many more there are."""
    listed = [str(name) for name in names]
    more = f"{separator.strip(', ')} and {len(listed) - 10} more" if len(listed) > 10 else ""
    return separator.join(listed[:10]) + more


def numbered(labels: Mapping[str, ArrayLike], where: Callable[[str], object]) -> tuple[NDArray[Any], dict[str, Labels]]:
    """The labels of the training images as the data set writes them, sorted; and each split's, by their place there.

    ``where``: what a message about a split begins with. Raises DataError for a label that no training image has.
    """
    values_C = np.unique(labels["train"])
    found = {}
    for split, own in labels.items():
        labels_N, begin = np.asarray(own), where(split)
        if (values_C.dtype.kind == "U") != (labels_N.dtype.kind == "U"):
            raise DataError(f"{begin}: labels are text in some files and numbers in others")
        strangers = np.setdiff1d(labels_N, values_C)
        if len(strangers) == 1:
            raise DataError(f"{begin}: label {strangers[0]} of the {split} images has no training images")
        if len(strangers):
            raise DataError(f"{begin}: labels of the {split} images have no training images: {first_ten(strangers)}")
        found[split] = np.searchsorted(values_C, labels_N)
    return values_C, found
