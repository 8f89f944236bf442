"""Which images are trained on and which are measured on: validation images, test images, and the hold-out.

Where the data set has test images, they are its own. Where it has none, a fifth of each class is set apart by content:
the same images whatever their files are called, and copies of one image on one side. Validation images are the data
set's own or cut from the training images.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from trainer.data.config import Evaluation
from trainer.data.images import Contents, ImageSet, Source
from trainer.data.long_tail import Indices
from trainer.errors import ConfigError, DataError
from trainer.rng import stream

SHARE = 5
"""a class too small for its validation images gives one in so many, and test images are one in so many"""
_SHOWN = 5
_TEST_SEED = 0
"""fixed: with another, images that one run was tested on would have trained another"""


@dataclass(frozen=True)
class Splits:
    """The images of each label, as indices, rising."""

    train_C: list[Indices]
    """indices into ``source.train``, before the tail is cut"""
    measured: ImageSet
    """what accuracies are measured on, among others where it is the training images"""
    measured_C: list[Indices]
    """indices into ``measured``"""
    said: tuple[str, ...]
    """a line about each split that is not simply the data set's own"""


def split(source: Source, evaluation: Evaluation) -> Splits:
    """Set test and validation images apart. Raises DataError or ConfigError where no class has an image to spare."""
    train_C, names, said = by_label(source, source.train), source.class_names, []
    content_N = source.train.content_N
    test, own = source.test, source.validation
    if test is not None:
        test_C = by_label(source, test)
        if source.test_name != "test":
            said.append(
                f"test: the data set's {source.test_name} images, as it has no others: {_images(test_C, names)}"
            )
    else:
        test, test_C = source.train, automatic_test(train_C, content_N)
        train_C = without(train_C, test_C)
        if not any(map(len, test_C)):
            raise DataError("the data set has no test images, and no class has two different images to set one apart")
        said.append(
            "test: the data set has no test images, so a fifth of each class is set apart by content "
            f"(seed {_TEST_SEED}): {_images(test_C, names)}"
        )
    if evaluation.split == "test":
        if own is not None:
            said.append(f"validation: the data set's own {len(own.used_N)} images are not used")
        return Splits(train_C, test, test_C, tuple(said))
    if own is not None and evaluation.split == "validation":
        own_C = by_label(source, own)
        said.append(f"validation: the data set's own, {_images(own_C, names)}")
        return Splits(train_C, own, own_C, tuple(said))
    taken_C = validation(train_C, content_N, evaluation, by_content=source.test is None)
    unused = f"; the data set's own {len(own.used_N)} are not used" if own else ""
    said.append(_rule([len(index_n) for index_n in train_C], taken_C, evaluation.per_class, names) + unused)
    return Splits(without(train_C, taken_C), source.train, taken_C, tuple(said))


def by_label(source: Source, images: ImageSet) -> list[Indices]:
    """The images of each label, rising."""
    return [np.flatnonzero(images.labels_N == label) for label in range(len(source.class_names))]


def share(images: int) -> int:
    """A fifth of a class of so many images, rounded down but at least one; none of one image."""
    return max(images // SHARE, 1) if images > 1 else 0


def validation_count(images: int, per_class: int) -> int:
    """Validation images of a class of so many: ``per_class``, but never more than its ``share``."""
    return min(per_class, share(images))


def validation(
    indices_C: Sequence[Indices], content_N: Contents, evaluation: Evaluation, *, by_content: bool = False
) -> list[Indices]:
    """``validation_count`` images of each label, rising; copies of one image within a class stay together.

    ``by_content``: the draw depends on the images alone, not on their order. Raises ConfigError where no class has two
    different images.
    """
    counts = [validation_count(len(index_n), evaluation.per_class) for index_n in indices_C]
    if by_content:
        found = _draw_by_content(indices_C, counts, content_N, evaluation.seed, "validation")
    else:
        shuffled_C = _shuffled(indices_C, evaluation.seed, "validation")
        found = [_together(index_n, content_N, count) for index_n, count in zip(shuffled_C, counts, strict=True)]
    if not any(map(len, found)):
        raise ConfigError(
            "no class has two different images, one to train on and one to measure on", field="data.evaluation.split"
        )
    return found


def automatic_test(indices_C: Sequence[Indices], content_N: Contents) -> list[Indices]:
    """The ``share`` of each label that is its test images, rising: always the same ones of the same images."""
    counts = [share(len(index_n)) for index_n in indices_C]
    return _draw_by_content(indices_C, counts, content_N, _TEST_SEED, "test")


def holdout_count(count: int, fraction: float) -> int:
    """Images of a class of ``count`` that are left out: rounded half to even, as NumPy does, but never all."""
    return min(int(np.round(fraction * count)), count - 1)


def holdout(indices_C: Sequence[Indices], fraction: float, seed: int) -> list[Indices]:
    """The images of each label that are left out, rising."""
    counts = [holdout_count(len(index_n), fraction) for index_n in indices_C]
    shuffled_C = _shuffled(indices_C, seed, "holdout")
    return [np.sort(index_n[:count]) for index_n, count in zip(shuffled_C, counts, strict=True)]


def without(indices_C: Sequence[Indices], taken_C: Sequence[Indices]) -> list[Indices]:
    """What is left of each label, rising."""
    return [np.setdiff1d(index_n, taken_n) for index_n, taken_n in zip(indices_C, taken_C, strict=True)]


def _shuffled(indices_C: Sequence[Indices], seed: int, use: str) -> Iterable[Indices]:
    """Each label's indices in a random order that depends on no other label."""
    for label, index_n in enumerate(indices_C):
        yield index_n[torch.randperm(len(index_n), generator=stream(seed, use, label)).numpy()]


def _draw_by_content(
    indices_C: Sequence[Indices], counts_C: Sequence[int], content_N: Contents, seed: int, use: str
) -> list[Indices]:
    """So many of each label's indices, rising. An image that several classes have stays behind in all of them."""
    classes_of = Counter(content for index_n in indices_C for content in np.unique(content_N[index_n]).tolist())
    found = []
    for index_n, count in zip(indices_C, counts_C, strict=True):
        keys = [_key(content, seed, use) for content in content_N[index_n].tolist()]
        order_n = index_n[np.argsort(np.array(keys, dtype=np.uint64), kind="stable")]
        apart = np.array([classes_of[content] == 1 for content in content_N[order_n].tolist()], dtype=bool)
        found.append(_together(order_n[apart], content_N, count, left=int((~apart).sum())))
    return found


def _together(order_n: Indices, content_N: Contents, count: int, left: int = 0) -> Indices:
    """The first ``count`` images, rising, but all or none of the copies of one: fewer where they do not fit.

    ``left``: other images of the class, which are not taken. Without them one image of the class stays behind.
    """
    _, first, sizes = np.unique(content_N[order_n], return_index=True, return_counts=True)
    if len(sizes) == len(order_n):
        return np.sort(order_n[:count])
    taken, room = [], count
    for position, size in sorted(zip(first.tolist(), sizes.tolist(), strict=True)):
        if size <= room:
            taken.append(position)
            room -= size
    if not taken and count and (left or len(sizes) > 1):
        taken = [first[np.argmin(sizes)]]
    return np.sort(order_n[np.isin(content_N[order_n], content_N[order_n[taken]])]) if taken else order_n[:0]


def _key(content: int, seed: int, use: str) -> int:
    """A random number that belongs to an image: the same wherever it lies, and as other images come and go."""
    digest = hashlib.blake2b(f"{seed}/{use}/{content}".encode(), digest_size=8)
    return int.from_bytes(digest.digest(), "little")


def _rule(images_C: Sequence[int], taken_C: Sequence[Indices], per_class: int, names: Sequence[str]) -> str:
    """The rule of ``validation_count`` and what it has come to."""
    counts = [len(taken_n) for taken_n in taken_C]
    small = [count for images, count in zip(images_C, counts, strict=True) if images < SHARE * per_class and count]
    each = "1 image" if per_class == 1 else f"{per_class} images"
    if not small:
        rule = f"{each} a class"
    else:
        rule = f"{each} a class where it has {SHARE * per_class}, otherwise a fifth: {_range(small)}"
    return f"validation: {rule}; {sum(counts)} of {sum(images_C)} training images{_lacking(taken_C, names)}"


def _images(taken_C: Sequence[Indices], names: Sequence[str]) -> str:
    counts = [len(taken_n) for taken_n in taken_C]
    return f"{sum(counts)} images, {_range([n for n in counts if n])} a class{_lacking(taken_C, names)}"


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def _lacking(taken_C: Sequence[Indices], names: Sequence[str]) -> str:
    """The classes that have none, named."""
    lacking = [name for name, taken_n in zip(names, taken_C, strict=True) if not len(taken_n)]
    if not lacking:
        return ""
    more = f" and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else ""
    kind = "class" if len(lacking) == 1 else "classes"
    return f"; none of {kind} {', '.join(lacking[:_SHOWN])}{more}"
