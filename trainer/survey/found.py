"""A data set as a run would see it: its images by split and class, its tasks, and all that is wrong or odd."""

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from trainer.data import splits
from trainer.data.config import DataConfig, Evaluation, Protocol
from trainer.data.images import ImageSet, Source, first_ten
from trainer.data.long_tail import Indices
from trainer.data.sources import checked, read
from trainer.data.tasks import check_crop, class_order, task_sizes, trained
from trainer.errors import UserError
from trainer.words import NOTE, WARNING, format_count

_SHOWN = 10


@dataclass
class Survey:
    """All lists ``_C`` are by the data set's own label; empty where a mistake keeps them from being known."""

    data: DataConfig
    source: Source
    tasks: list[list[int]] = field(default_factory=list)
    """the labels that are learnt in each task, in the order of learning"""
    found_C: list[int] = field(default_factory=list)
    """images of the training split"""
    trained_C: list[Indices] = field(default_factory=list)
    """those that are trained on, as indices into it: after splits, tail and hold-out"""
    validation_C: list[int] = field(default_factory=list)
    """images that a search is measured on"""
    test_C: list[int] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    """each keeps a run from starting"""
    warnings: list[str] = field(default_factory=list)
    """a run starts, but its numbers may mean less than they seem to"""
    notes: list[str] = field(default_factory=list)


def read_anyway(data: DataConfig) -> Source:
    """The images, without those that cannot be read. Raises DataError or ConfigError where there is no data set."""
    return read(data.model_copy(update={"on_bad_image": "skip"}))


def survey(source: Source, data: DataConfig, protocol: Protocol) -> Survey:
    """Check all that a run would of what ``read_anyway`` gives, without ending at the first mistake.

    Images that cannot be read are errors or warnings, by ``data.on_bad_image``.
    """
    notes = [line.removeprefix(NOTE) for line in source.said if not line.startswith(WARNING)]
    warnings = [line.removeprefix(WARNING) for line in source.said if line.startswith(WARNING)]
    found = Survey(data, source, warnings=warnings, notes=notes)
    _bad_images(found)
    with _noted(found):
        found.source = source = checked(source)
    found.found_C = [len(index_n) for index_n in splits.by_label(source, source.train)]
    with _noted(found):
        check_crop(source, data)
    order_C: tuple[int, ...] | None = None
    with _noted(found):
        order_C = class_order(len(source.class_names), protocol.class_order)
    with _noted(found):
        labels = iter(order_C or range(len(source.class_names)))
        sizes = task_sizes(len(source.class_names), protocol)
        found.tasks = [[next(labels) for _ in range(size)] for size in sizes]
    with _noted(found):
        _set_apart(found, order_C)
    found.errors = list(dict.fromkeys(found.errors))
    _odd(found)
    return found


@contextlib.contextmanager
def _noted(found: Survey) -> Iterator[None]:
    """A mistake is an error of the survey, and what follows is looked at too."""
    try:
        yield
    except UserError as error:
        found.errors += error.lines()


def _bad_images(found: Survey) -> None:
    """A line for each of the first ten, in all splits, and one that counts the others."""
    files = [images.encoded for images in found.source.splits.values() if images.encoded]
    bad = [f"{name}: {reason}" for one in files for name, reason in one.bad]
    lines = bad[:_SHOWN] + ([f"{len(bad) - _SHOWN} more images cannot be read"] if len(bad) > _SHOWN else [])
    if bad and found.data.on_bad_image == "error":
        found.errors += [*lines[:-1], f"{lines[-1]}; data.on_bad_image: skip leaves such images out"]
    else:
        found.warnings += [f"left out: {line}" for line in lines]


def _set_apart(found: Survey, order_C: Sequence[int] | None) -> None:
    source, own = found.source, found.data.evaluation
    kind = "validation" if own.split == "test" else own.split
    tested = splits.split(source, Evaluation(split="test"))
    found.test_C = [len(index_n) for index_n in tested.measured_C]
    apart = splits.split(source, own.model_copy(update={"split": kind}))
    found.validation_C = [len(index_n) for index_n in apart.measured_C]
    found.notes += [line for line in tested.said if not line.startswith("validation")]
    of_search = "; in a search: the run itself is measured on test images" if own.split == "test" else ""
    found.notes += [f"{line}{of_search}" for line in apart.said if line.startswith("validation")]
    if order_C is not None:
        available_C = tested.train_C if own.split == "test" else apart.train_C
        found.trained_C = trained(available_C, order_C, found.data)


def _odd(found: Survey) -> None:
    """Copies of images, classes that cannot be measured, images that are enlarged, and grey ones among colours."""
    source, names = found.source, found.source.class_names
    for split, images in source.splits.items():
        if split != "train":
            _copies(found, split, images)
    _copies_within(found)
    if without := [name for name, count in zip(names, found.test_C, strict=False) if not count]:
        found.warnings.append(f"no test images, so not measured: {first_ten(without)}")
    for split, images in source.splits.items():
        if images.encoded is None:
            continue
        short_N, side = images.encoded.size_N2.min(1), images.pixels_NHWC.shape[1]
        if small := int((short_N < side).sum()):
            found.notes.append(
                f"{split}: {format_count(small, 'image')} of {len(short_N)} smaller than {side} pixels, enlarged"
            )
        if turned := images.encoded.turned:
            found.notes.append(f"{split}: {format_count(turned, 'image')} turned upright, as EXIF says")
        modes = images.encoded.modes
        grey = sum(count for mode, count in modes.items() if mode in ("1", "L", "LA", "La") or mode[0] in "IF")
        if grey and (grey < len(short_N) or source.train.pixels_NHWC.shape[3] == 3):
            found.notes.append(
                f"{split}: {format_count(grey, 'image')} of {len(short_N)} grey among colours, read as colour"
            )


def _copies(found: Survey, split: str, images: ImageSet) -> None:
    """Images of another split that are trained on as well."""
    train = found.source.train
    first = {content: position for position, content in reversed(list(_contents(train)))}
    pairs = [(first[content], i) for i, content in _contents(images) if content in first]
    if pairs:
        shown = first_ten((f"{_name(images, b)} = {_name(train, a)}" for a, b in pairs), "; ")
        found.warnings.append(f"{format_count(len(pairs), 'image')} of {split} also in train (same pixels): {shown}")


def _copies_within(found: Survey) -> None:
    """Images that a class of the training split has several times, and those that several classes have."""
    train = found.source.train
    places: dict[int, list[int]] = defaultdict(list)
    for position, content in _contents(train):
        places[content].append(position)
    several = [group for group in places.values() if len(group) > 1]
    for kind, what in ((False, "twice or more in one class"), (True, "in several classes, with contradicting labels")):
        groups = [group for group in several if (len(np.unique(train.labels_N[group])) > 1) is kind]
        if groups:
            shown = first_ten((" = ".join(_name(train, i) for i in group[:3]) for group in groups), "; ")
            found.warnings.append(f"{format_count(len(groups), 'image')} of train {what}: {shown}")


def _contents(images: ImageSet) -> Iterator[tuple[int, int]]:
    """The position and content of each image that is used."""
    used_N = images.used_N
    return zip(used_N.tolist(), images.content_N[used_N].tolist(), strict=True)


def _name(images: ImageSet, position: int) -> str:
    return images.encoded.names()[position] if images.encoded else f"image {position}"
