"""The long tail: how many images each class keeps, and which. Pure functions of numbers; no images needed.

Protocol of Liu et al., "Long-Tailed Class-Incremental Learning" (ECCV 2022): an exponential profile
``int(n_max * (1/ratio) ** (i / (C - 1)))`` over the classes. NumPy's legacy generators are part of it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trainer.data.config import Imbalance
from trainer.errors import ConfigError

Indices = NDArray[np.int64]


def profile(classes: int, largest: int, ratio: float) -> list[int]:
    """Images of each of ``classes`` classes, falling from ``largest`` to ``largest / ratio``, truncated."""
    last = max(classes - 1, 1)
    return [int(largest * (1 / ratio) ** (i / last)) for i in range(classes)]


def tail_counts(available_C: Sequence[int], order_C: Sequence[int], imbalance: Imbalance) -> list[int]:
    """Training images that each label keeps.

    ``available_C``: images by label. ``order_C``: the label at each position of the class order. A class never keeps
    more than it has. Raises ConfigError where a class would keep none, or where 'shuffled' would not shuffle.
    """
    classes = len(available_C)
    if imbalance.order == "balanced" or imbalance.ratio == 1:  # a tail that classes have by themselves stays whole
        return [min(imbalance.max_per_class or count, count) for count in available_C]
    by_label = imbalance.order == "shuffled" and imbalance.profile == "label"
    if by_label and imbalance.ratio > 1 and classes > 2 and list(order_C) == sorted(order_C):
        # sizes that fall with the label are shuffled by the class order alone
        raise ConfigError(
            "shuffled sizes that follow the labels need classes learnt in another order than their labels': give "
            "protocol.class_order a seed, or profile: position, or order: ordered",
            field="data.imbalance.order",
        )
    ids_C = list(range(classes)) if by_label else list(order_C)
    sizes = profile(classes, imbalance.max_per_class or available_C[ids_C[0]], imbalance.ratio)
    if imbalance.order == "shuffled" and not by_label:
        np.random.RandomState(imbalance.seed).shuffle(sizes)
    counts_C = [0] * classes
    for label, size in zip(ids_C, sizes, strict=True):
        counts_C[label] = min(size, available_C[label])
    if 0 in counts_C:
        raise ConfigError(
            f"{imbalance.ratio:g} leaves class {counts_C.index(0)} without an image",
            field="data.imbalance.ratio",
            allowed=f"up to {max(sizes)}, the images of the largest class",
        )
    return counts_C


def kept(indices_C: Sequence[Indices], counts_C: Sequence[int], imbalance: Imbalance) -> list[Indices]:
    """The images that stay, by label, rising. ``indices_C``: all images of each label, in the data set's order.

    A random draw shuffles every label's images in label order with one generator, whether all stay or not: the
    sequence of shuffles is part of the protocol.
    """
    if imbalance.draw == "first":
        return [index_n[:count] for index_n, count in zip(indices_C, counts_C, strict=True)]
    generator = np.random.RandomState(imbalance.seed)
    found = []
    for index_n, count in zip(indices_C, counts_C, strict=True):
        shuffled = index_n.copy()
        generator.shuffle(shuffled)
        found.append(np.sort(shuffled[:count]))
    return found
