"""Benchmarks cut from real digits: every image where it belongs, every bad request in one line."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from trainer.data.config import ClassOrder, DataConfig, Evaluation, Imbalance, Protocol
from trainer.data.sources import load
from trainer.data.tasks import TaskStream, build, class_order, task_sizes
from trainer.errors import ConfigError


def digits(**fields: Any) -> DataConfig:
    return DataConfig(**{"source": "digits", "crop": 8, "pad": 1, **fields})


def test_digits_are_scikit_learns() -> None:
    source, theirs = load(digits()), load_digits()
    images = [images for images in (source.train, source.test) if images is not None]
    ours = sorted(
        (*map(int, pixels), label)
        for one in images
        for pixels, label in zip(one.pixels_NHWC.reshape(-1, 64), one.labels_N.tolist(), strict=True)
    )
    levels = np.rint(theirs.images.reshape(-1, 64) * 255 / 16)
    assert ours == sorted((*map(int, row), label) for row, label in zip(levels, theirs.target.tolist(), strict=True))


@pytest.mark.parametrize(
    ("classes", "kind", "tasks", "expected"),
    [
        (100, "lfs", 10, (10,) * 10),
        (100, "lfs", 20, (5,) * 20),
        (100, "lfh", 5, (50, *(10,) * 5)),
        (100, "lfh", 10, (50, *(5,) * 10)),
        (101, "lfs", 10, (11, *(10,) * 9)),
        (101, "lfs", 20, (6, *(5,) * 19)),
        (101, "lfh", 10, (51, *(5,) * 10)),
        (10, "lfs", 4, (3, 3, 2, 2)),
        (10, "lfs", 1, (10,)),
        (10, "lfs", 10, (1,) * 10),
    ],
)
def test_task_sizes(classes: int, kind: str, tasks: int, expected: tuple[int, ...]) -> None:
    assert task_sizes(classes, Protocol(kind=kind, tasks=tasks)) == expected


def test_base_is_the_first_task() -> None:
    assert task_sizes(10, Protocol(tasks=3, first_task_classes=6)) == (6, 2, 2)
    assert task_sizes(10, Protocol(kind="lfh", tasks=3, first_task_classes=2)) == (2, 3, 3, 2)


@given(
    classes=st.integers(1, 300),
    kind=st.sampled_from(["lfs", "lfh"]),
    tasks=st.integers(1, 320),
    first=st.none() | st.integers(1, 320),
)
def test_task_sizes_cover_all_classes_or_name_the_field(classes: int, kind: str, tasks: int, first: int | None) -> None:
    protocol = Protocol(kind=kind, tasks=tasks, first_task_classes=first)
    phases = tasks + (kind == "lfh")
    refused = None
    try:
        sizes = task_sizes(classes, protocol)
    except ConfigError as error:
        refused = error.field
    if refused:
        assert refused == ("protocol.tasks" if first is None else "protocol.first_task_classes")
        return
    assert sum(sizes) == classes
    assert len(sizes) == phases
    assert min(sizes) >= 1
    assert max(sizes[1:], default=1) - min(sizes[1:], default=1) <= 1
    if first is None:
        assert sizes[0] == math.ceil(classes / (2 if kind == "lfh" else tasks))


def test_no_number_of_tasks_up_to_the_classes_is_refused() -> None:
    assert all(len(task_sizes(23, Protocol(tasks=tasks))) == tasks for tasks in range(1, 24))


@pytest.mark.parametrize(
    ("protocol", "line"),
    [
        (Protocol(tasks=11), "protocol.tasks: more tasks (11) than 10 classes make; allowed: 1 to 10"),
        (Protocol(kind="lfh", tasks=6), "protocol.tasks: more tasks (6) than 10 classes make; allowed: 1 to 5"),
        (
            Protocol(tasks=5, first_task_classes=7),
            "protocol.first_task_classes: 7 of 10 classes first do not leave 4 later tasks a class each; "
            "allowed: 1 to 6",
        ),
        (
            Protocol(tasks=2, class_order=ClassOrder(classes=(0, 1, 1))),
            "protocol.class_order.classes: does not hold every ",
        ),
    ],
)
def test_bad_protocols(protocol: Protocol, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(digits(), protocol)
    assert str(caught.value).startswith(line)


@pytest.fixture(scope="module")
def tailed() -> TaskStream:
    return build(digits(imbalance=Imbalance(ratio=20), holdout_fraction=0.1), Protocol(tasks=4))


def test_digits_are_split_once_and_balanced() -> None:
    source = load(digits())
    assert source.train.pixels_NHWC.shape == (1447, 8, 8, 1)
    assert np.bincount(source.test.labels_N).tolist() == [35] * 10
    assert source.train.pixels_NHWC.max() == 255
    assert source.fingerprint == load(digits()).fingerprint
    images = np.concatenate([source.train.pixels_NHWC, source.test.pixels_NHWC]).reshape(1797, -1)
    assert len(np.unique(images, axis=0)) == 1797  # no image on both sides


def test_positions_labels_and_pixels_belong_together(tailed: TaskStream) -> None:
    source = load(digits())
    assert tailed.class_ids_C == class_order(10, ClassOrder())
    assert tailed.class_names_C == tuple(str(label) for label in tailed.class_ids_C)
    for pixels, labels, images in (
        (tailed.train_pixels_NCHW, tailed.train_labels_N, source.train),
        (tailed.eval_pixels_NCHW, tailed.eval_labels_N, source.test),
    ):
        known = {image.tobytes(): label for image, label in zip(images.pixels_NHWC, images.labels_N, strict=True)}
        found = [known[image.numpy().tobytes()] for image in pixels.permute(0, 2, 3, 1).contiguous()]
        assert found == [tailed.class_ids_C[position] for position in labels]


def test_tasks_partition_images_and_classes(tailed: TaskStream) -> None:
    assert [task.classes for task in tailed.tasks] == [3, 3, 2, 2]
    for task in tailed.tasks:
        for index, labels in ((task.train_N, tailed.train_labels_N), (task.eval_N, tailed.eval_labels_N)):
            assert labels[index].unique().tolist() == list(range(task.first, task.first + task.classes))
    assert torch.cat([task.train_N for task in tailed.tasks]).tolist() == list(range(len(tailed.train_labels_N)))
    assert torch.cat([task.eval_N for task in tailed.tasks]).tolist() == list(range(350))
    assert torch.bincount(tailed.train_labels_N).tolist() == tailed.counts_C.tolist()
    assert torch.bincount(tailed.eval_labels_N).tolist() == list(tailed.eval_counts_C)


def test_holdout_comes_after_the_tail(tailed: TaskStream) -> None:
    whole = build(digits(imbalance=Imbalance(ratio=20)), Protocol(tasks=4))
    expected = [count - round(0.1 * count) for count in whole.counts_C.tolist()]
    assert tailed.counts_C.tolist() == expected
    everything = {image.numpy().tobytes() for image in whole.train_pixels_NCHW}
    assert all(image.numpy().tobytes() in everything for image in tailed.train_pixels_NCHW)


def test_validation_images_come_from_training_before_the_tail() -> None:
    data = digits(imbalance=Imbalance(ratio=20), evaluation=Evaluation(split="validation", per_class=25))
    found = build(data, Protocol(tasks=5))
    assert found.eval_counts_C == (25,) * 10
    source = load(digits())
    training = {image.tobytes() for image in source.train.pixels_NHWC}
    measured = [image.permute(1, 2, 0).numpy().tobytes() for image in found.eval_pixels_NCHW]
    trained = {image.permute(1, 2, 0).numpy().tobytes() for image in found.train_pixels_NCHW}
    assert set(measured) <= training
    assert not set(measured) & trained
    available = int((source.train.labels_N == 0).sum()) - 25
    assert max(found.counts_C.tolist()) == available  # the tail is cut from what validation left


def test_builds_are_repeatable() -> None:
    data = digits(imbalance=Imbalance(ratio=20), evaluation=Evaluation(split="validation"), holdout_fraction=0.1)
    first, second = (build(data, Protocol(tasks=5)) for _ in range(2))
    assert torch.equal(first.train_pixels_NCHW, second.train_pixels_NCHW)
    assert torch.equal(first.eval_pixels_NCHW, second.eval_pixels_NCHW)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (digits(crop=9), "data.crop: 9 pixels are more than the images have (8x8); allowed: up to 8"),
        (digits(imbalance=Imbalance(ratio=1000)), "data.imbalance.ratio: 1000 leaves class"),
    ],
)
def test_bad_data_requests(data: DataConfig, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(data, Protocol(tasks=5))
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_digits_can_be_enlarged() -> None:
    found = build(digits(resize=32, crop=32), Protocol(tasks=5))
    assert found.train_pixels_NCHW.shape[1:] == (1, 32, 32)
