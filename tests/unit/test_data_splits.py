"""Validation and test images of any tail: no image in two splits, none lost, and each choice said in a line."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data import splits
from trainer.data.config import Evaluation
from trainer.data.images import ImageSet, Source
from trainer.errors import ConfigError, DataError, UserError

NATURAL = [60, 55, 45, 40, 30, 22, 15, 10, 6, 3, 2, 1, 1]
VALIDATION = Evaluation(split="validation")


def image_set(pictures: list[list[int]], order: np.ndarray[Any, Any] | None = None) -> ImageSet:
    """One-pixel images of these shades, by class; ``order``: that they are listed in."""
    shades = np.array([shade for own in pictures for shade in own], dtype=np.int64)
    labels_N = np.repeat(np.arange(len(pictures)), [len(own) for own in pictures])
    order = np.arange(len(shades)) if order is None else order
    pixels_NHWC = (
        np.stack([shades & 255, shades >> 8 & 255, shades >> 16], axis=1).astype(np.uint8).reshape(-1, 1, 1, 3)
    )
    return ImageSet.of(pixels_NHWC[order], labels_N[order])


def source(pictures: list[list[int]], **own: Any) -> Source:
    return Source(image_set(pictures), own.pop("test", None), tuple(f"c{i}" for i in range(len(pictures))), **own)


def distinct(sizes: list[int], first: int = 0) -> list[list[int]]:
    """So many different images of each class."""
    return [list(range(first + a, first + b)) for a, b in itertools.pairwise(np.cumsum([0, *sizes]).tolist())]


def shades(images: ImageSet, indices_C: list[Any]) -> list[list[int]]:
    """What the images show, by class."""
    value_N = images.pixels_NHWC.reshape(-1, 3).astype(np.int64) @ [1, 256, 65536]
    return [sorted(value_N[index_n].tolist()) for index_n in indices_C]


def split_or_refused(data: Source, evaluation: Evaluation) -> splits.Splits | None:
    """None where no class has an image to spare."""
    try:
        return splits.split(data, evaluation)
    except UserError:
        return None


def counts(indices_C: list[Any]) -> list[int]:
    return [len(index_n) for index_n in indices_C]


def test_a_class_that_is_large_enough_gives_what_it_always_gave() -> None:
    """The draw of data sets that have five times as many: a part of published results."""
    found = splits.split(source(distinct([125, 140, 500]), test=image_set(distinct([9] * 3))), VALIDATION)
    assert counts(found.measured_C) == [25, 25, 25]
    assert [index_n[:4].tolist() for index_n in found.measured_C] == [
        [1, 15, 18, 22],
        [137, 146, 152, 155],
        [265, 309, 319, 321],
    ]
    assert found.said == ("validation: 25 images a class; 75 of 765 training images",)


def test_a_natural_tail_gives_a_fifth() -> None:
    found = splits.split(source(distinct(NATURAL), test=image_set(distinct([2] * 13))), VALIDATION)
    assert counts(found.measured_C) == [12, 11, 9, 8, 6, 4, 3, 2, 1, 1, 1, 0, 0]
    assert counts(found.train_C) == [48, 44, 36, 32, 24, 18, 12, 8, 5, 2, 1, 1, 1]
    (line,) = found.said
    assert line.startswith("validation: 25 images a class where it has 125, otherwise a fifth: 1 to 12; 58 of 290")
    assert line.endswith("none of classes c11, c12")


def test_a_ceiling_and_a_fifth_together() -> None:
    evaluation = Evaluation(split="validation", per_class=4)
    found = splits.split(source(distinct([60, 20, 19, 2]), test=image_set(distinct([2] * 4))), evaluation)
    assert counts(found.measured_C) == [4, 4, 3, 1]


def test_classes_of_one_image_alone_are_refused_in_a_line() -> None:
    with pytest.raises(ConfigError, match=r"data\.evaluation\.split: no class has two different images"):
        splits.split(source(distinct([1, 1]), test=image_set(distinct([1, 1]))), VALIDATION)
    with pytest.raises(DataError, match="no test images, and no class has two different images"):
        splits.split(source([[3, 3], [4]]), Evaluation())


def test_own_validation_images_are_used_whole() -> None:
    own = image_set(distinct([5, 0, 7], first=1000))
    data = source(distinct([60, 30, 1]), test=image_set(distinct([4] * 3)), validation=own)
    found = splits.split(data, VALIDATION)
    assert counts(found.train_C) == [60, 30, 1]
    assert found.measured is own
    assert counts(found.measured_C) == [5, 0, 7]
    assert found.said == ("validation: the data set's own, 12 images, 5 to 7 a class; none of class c1",)
    cut = splits.split(data, Evaluation(split="validation_from_train"))
    assert cut.measured is data.train
    assert counts(cut.measured_C) == [12, 6, 0]
    assert cut.said[0].endswith("; the data set's own 12 are not used")
    tested = splits.split(data, Evaluation())
    assert counts(tested.train_C) == [60, 30, 1]
    assert counts(tested.measured_C) == [4] * 3


def test_without_test_images_a_fifth_of_each_class_is_set_apart() -> None:
    data = source(distinct(NATURAL))
    tested, searched = splits.split(data, Evaluation()), splits.split(data, VALIDATION)
    assert counts(tested.measured_C) == [12, 11, 9, 8, 6, 4, 3, 2, 1, 1, 1, 0, 0]
    assert counts(searched.train_C) == [39, 36, 29, 26, 20, 15, 10, 7, 4, 1, 1, 1, 1]
    (line,) = tested.said
    assert "no test images" in line
    assert "seed 0" in line
    assert "58 images, 1 to 12 a class; none of classes c11, c12" in line
    assert len(searched.said) == 2


def test_the_draw_of_test_images_is_a_part_of_results() -> None:
    data = source(distinct([20, 9]))
    assert shades(data.train, splits.split(data, Evaluation()).measured_C) == [[2, 10, 12, 18], [24]]


def test_validation_images_that_are_the_test_images_are_called_so() -> None:
    data = source(distinct([20, 9]), test=image_set(distinct([3, 3], first=50)), test_name="validation")
    expected = "test: the data set's validation images, as it has no others: 6 images, 3 a class"
    assert splits.split(data, Evaluation()).said == (expected,)
    assert splits.split(data, VALIDATION).said[0] == expected


def test_what_is_tested_does_not_depend_on_the_seed_of_validation() -> None:
    data = source(distinct(NATURAL))
    first, second = (splits.split(data, Evaluation(seed=seed)) for seed in (0, 1))
    assert shades(data.train, first.measured_C) == shades(data.train, second.measured_C)


def test_another_image_moves_no_other_between_training_and_test() -> None:
    before, after = source(distinct([50])), source([list(range(51))])
    (tested,) = shades(before.train, splits.split(before, Evaluation()).measured_C)
    (again,) = shades(after.train, splits.split(after, Evaluation()).measured_C)
    assert len(set(tested) ^ set(again)) <= 2


PICTURES = st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=40), min_size=1, max_size=8)
"""shades by class, the same ones often within a class and in several"""


@given(pictures=PICTURES, per_class=st.integers(1, 30), seed=st.integers(0, 2**40), has_test=st.booleans())
def test_no_image_is_in_two_splits_and_none_is_lost(
    pictures: list[list[int]], per_class: int, seed: int, has_test: bool
) -> None:
    data = source(pictures, **({"test": image_set(pictures)} if has_test else {}))
    evaluations = [Evaluation(seed=seed), Evaluation(split="validation", per_class=per_class, seed=seed)]
    found = [done for evaluation in evaluations if (done := split_or_refused(data, evaluation))]
    tested = [] if has_test or not found else [found[0].measured_C]
    for done in found:
        of_train = [done.measured_C] if done is not found[0] else []
        parts = [shades(data.train, part_C) for part_C in (done.train_C, *of_train, *tested)]
        for own, *shown in zip(pictures, *parts, strict=True):
            assert sorted(itertools.chain(*shown)) == sorted(own)  # none is lost
            assert sum(len(set(part)) for part in shown) == len(set(own))  # copies are together
            assert shown[0]  # something to train on
        if not has_test:  # nor is one under another label in another split
            everywhere = [set(itertools.chain(*part)) for part in parts]
            assert sum(map(len, everywhere)) == len(set.union(*everywhere))


@given(pictures=PICTURES, order_seed=st.integers(0, 2**32 - 1), seed=st.integers(0, 9))
def test_automatic_splits_depend_on_no_order(pictures: list[list[int]], order_seed: int, seed: int) -> None:
    listed = source(pictures)
    order = np.random.default_rng(order_seed).permutation(len(listed.train.labels_N))
    other = Source(image_set(pictures, order), None, listed.class_names)
    for evaluation in (Evaluation(), Evaluation(split="validation", seed=seed)):
        first, second = (split_or_refused(data, evaluation) for data in (listed, other))
        if first is None or second is None:
            assert first is second
            continue
        assert shades(listed.train, first.measured_C) == shades(other.train, second.measured_C)
        assert shades(listed.train, first.train_C) == shades(other.train, second.train_C)
        assert first.said == second.said


@given(sizes=st.lists(st.integers(1, 200), min_size=1, max_size=12), per_class=st.integers(1, 40))
def test_counts_follow_the_rule(sizes: list[int], per_class: int) -> None:
    found = [splits.validation_count(size, per_class) for size in sizes]
    assert all(count <= per_class for count in found)
    assert all(count <= size / 5 or (count, size < 5) == (1, True) for count, size in zip(found, sizes, strict=True))
    assert all(bool(count) == (size > 1) for count, size in zip(found, sizes, strict=True))
