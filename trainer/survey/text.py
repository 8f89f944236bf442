"""A survey as lines for a terminal of a given width, which say the same where only ASCII can be printed."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from rich.cells import cell_len, set_cell_size

from trainer.data.images import ImageSet
from trainer.results.metrics import FEW, MANY, shot
from trainer.survey.found import Survey
from trainer.words import NOTE, WARNING

_ROWS = 40
"""bars that are drawn: with more classes a bar is several"""
_NAME = 24
"""cells of a class's name that are shown beside its bar"""


def lines(found: Survey, width: int) -> Iterator[str]:
    """Splits, classes with their tail, tasks, and what is odd; not the errors."""
    yield from _splits(found)
    yield ""
    yield from _tail(found, width)
    if found.tasks:
        yield ""
        yield from _tasks(found, width)
    if found.notes or found.warnings:
        yield ""
        yield from (f"{NOTE}{line}" for line in found.notes)
        yield from (f"{WARNING}{line}" for line in found.warnings)


def tail_line(count_C: Sequence[int]) -> str:
    """The long tail in a line: ``60 to 1 training images a class; 2 many-shot (over 100), ...``."""
    shots = Counter(shot(count) for count in count_C)
    return (
        f"{max(count_C)} to {min(count_C)} training images a class; {shots['many']} many-shot (over {MANY}), "
        f"{shots['medium']} medium-shot, {shots['few']} few-shot (under {FEW})"
    )


def _splits(found: Survey) -> Iterator[str]:
    rows: list[tuple[str, ...]] = [("split", "images", "left out", "smallest", "median", "largest", "modes", "formats")]
    for split, images in found.source.splits.items():
        left_out = len(images.encoded.bad) if images.encoded else 0
        rows.append((split, str(len(images.used_N)), str(left_out), *_sizes(images), _modes(images), _formats(images)))
    yield from _aligned(rows)


def _sizes(images: ImageSet) -> list[str]:
    """Of the smallest, the median and the largest image, by area."""
    if images.encoded is None:
        return ["{1}x{0}".format(*images.pixels_NHWC.shape[1:3])] * 3
    size_N2 = images.encoded.size_N2
    order_N = np.argsort(size_N2.prod(1), kind="stable")
    return ["x".join(map(str, size_N2[order_N[i]])) for i in (0, len(order_N) // 2, -1)]


def _modes(images: ImageSet) -> str:
    channels = images.pixels_NHWC.shape[3]
    return _counted(images.encoded.modes if images.encoded else {"L" if channels == 1 else "RGB": len(images.used_N)})


def _formats(images: ImageSet) -> str:
    """Of the files; those of arrays have none."""
    return _counted(images.encoded.formats) if images.encoded else "-"


def _counted(counts: Mapping[str, int]) -> str:
    """``480 JPEG, 1 HEIF``: the most frequent first."""
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda one: -one[1]))


def _tail(found: Survey, width: int) -> Iterator[str]:
    """The classes from the largest, a bar each; of many, neighbours share a bar."""
    kept_C = [len(index_n) for index_n in found.trained_C] or found.found_C
    yield f"classes: {len(kept_C)}; {tail_line(kept_C)}"
    yield "bars: training images from the largest class, █ trained on, ░ set apart or cut"
    groups = [group.tolist() for group in np.array_split(largest_first(found), min(_ROWS, len(kept_C)))]
    numbers = {"train": found.found_C, "trained": kept_C, "validation": found.validation_C, "test": found.test_C}
    head = ("class", *(name for name, count_C in numbers.items() if count_C))
    rows = [head, *((_called(found, group), *_counts(numbers, group)) for group in groups)]
    text = list(_aligned(rows, right=range(1, len(head))))
    longest, most = max(map(cell_len, text)), max(found.found_C)
    room = max(width - longest - 2, 10)
    yield text[0]
    for line, group in zip(text[1:], groups, strict=True):
        whole, kept = (np.mean([count_C[label] for label in group]) for count_C in (found.found_C, kept_C))
        solid, total = (max(round(room * count / most), int(count > 0)) for count in (kept, whole))
        yield f"{set_cell_size(line, longest)}  {'█' * solid}{'░' * (total - solid)}"


def largest_first(found: Survey) -> list[int]:
    """The labels by the images that are trained on, then by those that there are."""
    kept_C = [len(index_n) for index_n in found.trained_C] or found.found_C
    return sorted(range(len(kept_C)), key=lambda label: (-kept_C[label], -found.found_C[label], label))


def _called(found: Survey, group: Sequence[int]) -> str:
    name = found.source.class_names[group[0]]
    short = name if cell_len(name) <= _NAME else f"{set_cell_size(name, _NAME - 3)}..."
    return short if len(group) == 1 else f"{short} and {len(group) - 1} more"


def _counts(numbers: dict[str, list[int]], group: Sequence[int]) -> Iterator[str]:
    for count_C in filter(None, numbers.values()):
        own = [count_C[label] for label in group]
        yield str(own[0]) if max(own) == min(own) else f"{max(own)} to {min(own)}"


def _tasks(found: Survey, width: int) -> Iterator[str]:
    rows = [("task", "classes", "images", "learnt")]
    for number, labels in enumerate(found.tasks, 1):
        images = str(sum(len(found.trained_C[label]) for label in labels)) if found.trained_C else "?"
        names = ", ".join(found.source.class_names[label] for label in labels)
        rows.append((str(number), str(len(labels)), images, names))
    for line in _aligned(rows, right=range(3)):
        yield line if cell_len(line) <= width else f"{set_cell_size(line, width - 3)}..."


def _aligned(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> Iterator[str]:
    """Columns by the cells that they take: a letter of Chinese takes two."""
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = [(cell, " " * (width - cell_len(cell))) for cell, width in zip(row, widths, strict=True)]
        cells = (f"{room}{cell}" if i in right else f"{cell}{room}" for i, (cell, room) in enumerate(padded))
        yield "  ".join(cells).rstrip()
