"""Accuracies of class-incremental learning, from one matrix: A[t][u] = accuracy on task u after task t, in %."""

from collections.abc import Sequence
from typing import Literal

Matrix = Sequence[Sequence[float]]

MANY, FEW = 100, 20
"""a class with more than MANY training images is many-shot, one with fewer than FEW few-shot (Liu et al., CVPR 2019)"""


def phase_task_mean(row: Sequence[float]) -> float:
    """Unweighted mean over the tasks seen: what the released codes of the field report."""
    return sum(row) / len(row)


def phase_class_weighted(row: Sequence[float], classes: Sequence[int]) -> float:
    """Tasks weighted by their classes: the accuracy on all test images of seen classes, if these are balanced."""
    seen = classes[: len(row)]
    return sum(a * c for a, c in zip(row, seen, strict=True)) / sum(seen)


def average_task_mean(matrix: Matrix) -> float:
    """Average incremental accuracy (ACC): mean over all phases, the first included."""
    return sum(phase_task_mean(row) for row in matrix) / len(matrix)


def average_class_weighted(matrix: Matrix, classes: Sequence[int]) -> float:
    return sum(phase_class_weighted(row, classes) for row in matrix) / len(matrix)


def forgetting(matrix: Matrix) -> float | None:
    """Mean over earlier tasks of the best earlier accuracy minus the one now; negative where a task gained.

    None after the first task. (Chaudhry et al., ECCV 2018; not clipped.)
    """
    now = matrix[-1]
    if len(now) < 2:
        return None
    drops = [max(matrix[s][u] for s in range(u, len(matrix) - 1)) - now[u] for u in range(len(now) - 1)]
    return sum(drops) / len(drops)


def shot(images: int) -> Literal["many", "medium", "few"]:
    return "many" if images > MANY else "few" if images < FEW else "medium"


def mean_by_shot(acc_C: Sequence[float | None], images_C: Sequence[int]) -> dict[str, float | None]:
    """Mean accuracy of the many-, medium- and few-shot classes; None where there is none."""
    groups: dict[str, list[float]] = {"many": [], "medium": [], "few": []}
    for acc, images in zip(acc_C, images_C, strict=True):
        if acc is not None:
            groups[shot(images)].append(acc)
    return {name: sum(found) / len(found) if found else None for name, found in groups.items()}
