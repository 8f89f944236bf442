"""Accuracies of class-incremental learning, from one matrix: A[t][u] = accuracy on task u after task t, in %.

A class counts as much as another, however many images it is measured on; one that none measures is left out, as is a
task of such classes. A mean over nothing is None.
"""

import math
from collections.abc import Sequence
from typing import Literal

Matrix = Sequence[Sequence[float | None]]

TOP = 5
"""classes with the highest scores, among which top-5 accuracy looks; of no more classes all would be right"""
BINS = 15
"""of equal width, which the expected calibration error sorts confidences into"""
MANY, FEW = 100, 20
"""a class with more than MANY training images is many-shot, one with fewer than FEW few-shot (Liu et al., CVPR 2019)"""


def task_accuracy(correct_n: Sequence[int], images_n: Sequence[int]) -> float | None:
    """Mean over a task's classes of their accuracy: the accuracy on all its images, if these are balanced."""
    measured = [(correct, images) for correct, images in zip(correct_n, images_n, strict=True) if images]
    if not measured:
        return None
    most = max(images for _, images in measured)
    # To the last digit what the images together give where every class has as many.
    return 100 * sum(correct * (most / images) for correct, images in measured) / (most * len(measured))


def phase_task_mean(row: Sequence[float | None]) -> float | None:
    """Unweighted mean over the tasks seen: what the released codes of the field report."""
    return _mean(row)


def phase_class_weighted(row: Sequence[float | None], classes: Sequence[int]) -> float | None:
    """Tasks weighted by their classes that are measured: the mean over those classes."""
    found = [(a, c) for a, c in zip(row, classes[: len(row)], strict=True) if a is not None]
    return sum(a * c for a, c in found) / sum(c for _, c in found) if found else None


def average_task_mean(matrix: Matrix) -> float | None:
    """Average incremental accuracy (ACC): mean over all phases, the first included."""
    return _mean([phase_task_mean(row) for row in matrix])


def average_class_weighted(matrix: Matrix, classes: Sequence[int]) -> float | None:
    return _mean([phase_class_weighted(row, classes) for row in matrix])


def class_mean(correct_K: Sequence[int], images_K: Sequence[int]) -> float | None:
    """Mean over the classes that are measured of the part of their images that is correct, in %."""
    pairs = zip(correct_K, images_K, strict=True)
    return _mean([100 * correct / images if images else None for correct, images in pairs])


def calibration_error(gaps: Sequence[float], images: int) -> float | None:
    """Expected calibration error in % (Guo et al., ICML 2017), over bins of confidence.

    ``gaps``: of each bin, images classified right minus the sum of confidences; ``images``: of all bins. None where
    there is no image, or where a confidence is not finite.
    """
    error = 100 * sum(map(abs, gaps)) / images if images else math.nan
    return error if math.isfinite(error) else None


def forgetting(matrix: Matrix) -> float | None:
    """Mean over earlier tasks of the best earlier accuracy minus the one now; negative where a task gained.

    None after the first task. (Chaudhry et al., ECCV 2018; not clipped.)
    """
    drops = []
    for task, now in enumerate(matrix[-1][:-1]):
        before = [accuracy for row in matrix[task:-1] if (accuracy := row[task]) is not None]
        if now is not None and before:
            drops.append(max(before) - now)
    return _mean(drops)


def shot(images: int) -> Literal["many", "medium", "few"]:
    return "many" if images > MANY else "few" if images < FEW else "medium"


def mean_by_shot(acc_C: Sequence[float | None], images_C: Sequence[int]) -> dict[str, float | None]:
    """Mean accuracy of the many-, medium- and few-shot classes; None where there is none."""
    groups: dict[str, list[float | None]] = {"many": [], "medium": [], "few": []}
    for acc, images in zip(acc_C, images_C, strict=True):
        groups[shot(images)].append(acc)
    return {name: _mean(found) for name, found in groups.items()}


def _mean(values: Sequence[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found else None
