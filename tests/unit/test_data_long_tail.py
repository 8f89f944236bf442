"""The protocol's published numbers, from counts alone, and what holds for any of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data import long_tail, splits
from trainer.data.config import ClassOrder, Imbalance, Protocol
from trainer.data.sources.imagenet_subset import drawn
from trainer.data.tasks import class_order, task_sizes
from trainer.errors import ConfigError

CIFAR = [500] * 100
ORDER = class_order(100, ClassOrder())


@pytest.mark.parametrize(
    ("ratio", "total", "tail"), [(100, 10847, 5), (50, 12608, 10), (200, 9502, 2), (10, 19573, 50)]
)
def test_cifar100_lt_counts(ratio: float, total: int, tail: int) -> None:
    counts = long_tail.tail_counts(CIFAR, ORDER, Imbalance(ratio=ratio))
    assert sum(counts) == total
    assert counts[0] == 500
    assert counts[-1] == min(counts) == tail


def test_cifar100_lt_head_and_tail() -> None:
    counts = long_tail.tail_counts(CIFAR, ORDER, Imbalance(ratio=100))
    assert counts[:3] == [500, 477, 455]
    assert counts[-3:] == [5, 5, 5]
    assert sum(count < 20 for count in counts) == 30


def test_class_orders() -> None:
    assert ORDER[:12] == (68, 56, 78, 8, 23, 84, 90, 65, 74, 76, 40, 89)
    assert ORDER[-2:] == (57, 33)
    assert class_order(101, ClassOrder(seed=0))[:5] == (26, 86, 2, 55, 75)  # Food101
    assert class_order(4, ClassOrder(seed=None)) == (0, 1, 2, 3)
    assert class_order(3, ClassOrder(classes=(2, 0, 1))) == (2, 0, 1)


def test_imagenet_subset_draw() -> None:
    found = drawn()
    assert found[:6] == [54, 7, 894, 512, 126, 337]
    assert len(set(found)) == 100


@pytest.mark.parametrize(
    ("classes", "largest", "total", "head", "tail"),
    [(100, 1300, 28281, [1300, 1240, 1184], [14, 13, 13]), (101, 750, 16454, [750, 716, 684], [8, 7, 7])],
)
def test_profile_by_position(classes: int, largest: int, total: int, head: list[int], tail: list[int]) -> None:
    order = class_order(classes, ClassOrder())
    ordered = Imbalance(ratio=100, order="ordered", profile="position")
    counts = long_tail.tail_counts([largest] * classes, order, ordered)
    by_position = [counts[label] for label in order]
    assert sum(counts) == total
    assert by_position[:3] == head
    assert by_position[-3:] == tail
    shuffled = long_tail.tail_counts([largest] * classes, order, Imbalance(ratio=100, profile="position"))
    sizes = list(by_position)
    np.random.RandomState(0).shuffle(sizes)
    assert [shuffled[label] for label in order] == sizes


def _phases(kind: str, tasks: int) -> list[int]:
    """CIFAR100-LT at ratio 100, a tenth held out."""
    counts = long_tail.tail_counts(CIFAR, ORDER, Imbalance(ratio=100))
    left = [counts[label] - splits.holdout_count(counts[label], 0.1) for label in ORDER]
    sizes = task_sizes(100, Protocol(kind=kind, tasks=tasks))
    ends = np.cumsum(sizes)
    return [sum(left[end - size : end]) for end, size in zip(ends, sizes, strict=True)]


def test_images_of_each_phase() -> None:
    assert _phases("lfs", 10) == [590, 1082, 1086, 1193, 768, 803, 1190, 1213, 1343, 490]
    assert _phases("lfs", 20) == [
        *(527, 63, 505, 577, 496, 590, 661, 532, 126, 642),
        *(340, 463, 467, 723, 603, 610, 477, 866, 181, 309),
    ]
    assert _phases("lfh", 5)[0] == 4719
    assert sum(_phases("lfh", 5)[1:]) == 5039


def test_holdout_rounds_half_to_even() -> None:
    assert [splits.holdout_count(n, 0.1) for n in (5, 15, 25, 35, 477)] == [0, 2, 2, 4, 48]


def test_largest_class_from_the_first_of_the_profile() -> None:
    available = [30, 90, 60]
    by_label = long_tail.tail_counts(available, (1, 2, 0), Imbalance(ratio=10))
    assert by_label == [30, 9, 3]
    by_position = long_tail.tail_counts(available, (1, 2, 0), Imbalance(ratio=10, order="ordered", profile="position"))
    assert by_position == [9, 90, 28]
    capped = long_tail.tail_counts(available, (1, 2, 0), Imbalance(ratio=10, max_per_class=50))
    assert capped == [30, 15, 5]
    assert long_tail.tail_counts(available, (1, 2, 0), Imbalance(order="balanced", max_per_class=40)) == [30, 40, 40]


def test_ordered_falls_along_any_class_order() -> None:
    for profile in ("label", "position"):
        counts = long_tail.tail_counts(CIFAR, ORDER, Imbalance(ratio=100, order="ordered", profile=profile))
        by_position = [counts[label] for label in ORDER]
        assert by_position == sorted(by_position, reverse=True)


def test_shuffled_over_labels_in_label_order_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.imbalance\.order: .*class_order a seed"):
        long_tail.tail_counts(CIFAR, range(100), Imbalance(ratio=100))


def test_a_class_left_empty_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.imbalance\.ratio: 200 leaves class 8 without an image"):
        long_tail.tail_counts([100] * 10, class_order(10, ClassOrder()), Imbalance(ratio=200))


def test_draw_is_the_legacy_sequence_of_shuffles() -> None:
    indices = [np.arange(8), np.arange(8, 13), np.arange(13, 20)]
    found = long_tail.kept(indices, [2, 5, 3], Imbalance(seed=0))
    state = np.random.RandomState(0)
    for index, count, kept in zip(indices, [2, 5, 3], found, strict=True):
        shuffled = list(index)
        state.shuffle(shuffled)
        assert sorted(shuffled[:count]) == kept.tolist()
    first = long_tail.kept(indices, [2, 5, 3], Imbalance(draw="first"))
    assert [kept.tolist() for kept in first] == [[0, 1], [8, 9, 10, 11, 12], [13, 14, 15]]


def test_draw_leaves_the_global_generator_alone() -> None:
    np.random.seed(7)
    before = np.random.get_state()[1].copy()
    long_tail.kept([np.arange(9)], [4], Imbalance(seed=3))
    class_order(50, ClassOrder())
    assert (np.random.get_state()[1] == before).all()


@given(
    available=st.lists(st.integers(1, 400), min_size=1, max_size=30),
    ratio=st.floats(1, 500),
    order=st.sampled_from(["shuffled", "ordered", "balanced"]),
    profile=st.sampled_from(["label", "position"]),
    largest=st.none() | st.integers(1, 500),
    seed=st.integers(0, 2**32 - 1),
)
def test_counts_fit_or_one_line_says_why(
    available: list[int], ratio: float, order: str, profile: str, largest: int | None, seed: int
) -> None:
    ids = class_order(len(available), ClassOrder(seed=seed))
    imbalance = Imbalance(ratio=ratio, order=order, profile=profile, max_per_class=largest, seed=seed)
    refused = None
    try:
        counts = long_tail.tail_counts(available, ids, imbalance)
    except ConfigError as error:
        refused = error.field
    if refused:
        assert refused in {"data.imbalance.ratio", "data.imbalance.order"}
        return
    assert all(1 <= count <= n for count, n in zip(counts, available, strict=True))
    kept = long_tail.kept([np.arange(n) for n in available], counts, imbalance)
    assert [len(set(index.tolist())) for index in kept] == counts


def test_a_tail_that_classes_have_by_themselves_stays_whole_where_none_is_cut() -> None:
    natural = [3, 60, 1, 22]
    assert long_tail.tail_counts(natural, range(4), Imbalance()) == natural
    assert long_tail.tail_counts(natural, range(4), Imbalance(order="balanced")) == natural
    assert long_tail.tail_counts(natural, range(4), Imbalance(max_per_class=20)) == [3, 20, 1, 20]
