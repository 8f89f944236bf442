"""The field's metrics, against numbers worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.results import metrics

# Accuracy in % on task u (column) after task t (row); six classes first, then two and two.
MATRIX = [[90.0], [60.0, 80.0], [30.0, 90.0, 50.0]]
CLASSES = [6, 2, 2]


def test_half_the_classes_first_makes_the_two_means_differ() -> None:
    assert metrics.phase_task_mean(MATRIX[1]) == 70
    assert metrics.phase_class_weighted(MATRIX[1], CLASSES) == (6 * 60 + 2 * 80) / 8 == 65
    assert metrics.phase_class_weighted(MATRIX[2], CLASSES) == (6 * 30 + 2 * 90 + 2 * 50) / 10 == 46


def test_equal_tasks_make_the_two_means_equal() -> None:
    for row in MATRIX:
        assert metrics.phase_task_mean(row) == pytest.approx(metrics.phase_class_weighted(row, [4, 4, 4]))


def test_average_incremental_accuracy_counts_the_first_task() -> None:
    assert metrics.average_task_mean(MATRIX) == pytest.approx((90 + 70 + 170 / 3) / 3)
    assert metrics.average_class_weighted(MATRIX, CLASSES) == pytest.approx((90 + 65 + 46) / 3)
    assert metrics.average_task_mean(MATRIX[:1]) == 90


def test_forgetting_is_the_drop_from_the_best_earlier_accuracy() -> None:
    assert metrics.forgetting(MATRIX) == ((90 - 30) + (80 - 90)) / 2
    assert metrics.forgetting(MATRIX[:2]) == 30


def test_forgetting_is_negative_where_old_tasks_gained() -> None:
    assert metrics.forgetting([[50.0], [70.0, 10.0]]) == -20


def test_forgetting_takes_the_best_of_all_earlier_phases_and_not_the_last() -> None:
    assert metrics.forgetting([[90.0], [10.0, 0.0], [40.0, 0.0, 0.0]]) == 25


def test_after_the_first_task_nothing_can_be_forgotten() -> None:
    assert metrics.forgetting(MATRIX[:1]) is None


@pytest.mark.parametrize(
    ("images", "expected"), [(101, "many"), (100, "medium"), (20, "medium"), (19, "few"), (1, "few")]
)
def test_shots_have_the_bounds_of_the_field(images: int, expected: str) -> None:
    assert metrics.shot(images) == expected


def test_accuracy_by_shot_leaves_out_classes_without_images_and_groups_without_classes() -> None:
    found = metrics.mean_by_shot([90.0, 70.0, None, 10.0], [500, 200, 300, 5])
    assert found == {"many": 80.0, "medium": None, "few": 10.0}


@given(
    correct=st.lists(st.integers(0, 50), min_size=1, max_size=20),
    images=st.integers(50, 1000),
)
def test_where_every_class_has_as_many_images_a_tasks_accuracy_is_that_on_all_of_them(
    correct: list[int], images: int
) -> None:
    assert metrics.task_accuracy(correct, [images] * len(correct)) == 100 * sum(correct) / (images * len(correct))


def test_a_rare_class_counts_as_much_as_a_frequent_one() -> None:
    assert metrics.task_accuracy([90, 0], [100, 1]) == 45
    assert metrics.task_accuracy([90, 0], [100, 0]) == 90


# Task 1 has no image to measure on, and then task 0 neither.
GAPS = [[80.0], [70.0, None], [60.0, None, 40.0]]
FIRST_GAP = [[None], [None, 50.0], [None, 30.0, 10.0]]


def test_tasks_that_no_image_measures_are_left_out_of_every_mean() -> None:
    assert metrics.task_accuracy([0, 0], [0, 0]) is None
    assert [metrics.phase_task_mean(row) for row in GAPS] == [80, 70, 50]
    assert metrics.average_task_mean(GAPS) == pytest.approx(200 / 3)
    assert metrics.phase_class_weighted(GAPS[2], [3, 0, 1]) == (3 * 60 + 40) / 4
    assert metrics.forgetting(GAPS) == 20
    assert metrics.average_task_mean(FIRST_GAP) == (50 + 20) / 2
    assert metrics.average_class_weighted(FIRST_GAP, [0, 1, 1]) == (50 + 20) / 2
    assert metrics.forgetting(FIRST_GAP) == 20


def test_a_mean_over_nothing_is_none() -> None:
    assert metrics.phase_task_mean([None]) is None
    assert metrics.average_task_mean(FIRST_GAP[:1]) is None
    assert metrics.average_class_weighted(FIRST_GAP[:1], [0]) is None
    assert metrics.forgetting(FIRST_GAP[:2]) is None
