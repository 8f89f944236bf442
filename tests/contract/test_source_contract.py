"""What every source of images promises, found by file name: one of your own is tested before you write a test."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.source_sets import example, line_of, refuse_downloads
from trainer.data.config import ClassOrder, DataConfig, Evaluation, Protocol
from trainer.data.images import Source
from trainer.data.sources import load
from trainer.data.tasks import build
from trainer.errors import ConfigError, UserError
from trainer.registry import files, module

NAMES = files("trainer.data.sources")


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIL_CACHE", str(tmp_path / "cache"))
    refuse_downloads(monkeypatch)


@pytest.fixture(params=NAMES)
def data(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataConfig:
    """The smallest real set of each source."""
    name: str = request.param
    return DataConfig(source=name, crop=8, pad=1, **example(name, tmp_path / "set", monkeypatch))


def images_of(source: Source) -> list[Any]:
    return list(source.splits.values())


def test_images_are_bytes_and_labels_number_the_classes(data: DataConfig) -> None:
    source = load(data)
    classes = len(source.class_names)
    assert classes >= 2
    assert len(set(source.class_names)) == classes
    assert len({images.pixels_NHWC.shape[1:] for images in images_of(source)}) == 1
    for images in images_of(source):
        assert images.pixels_NHWC.dtype == np.uint8
        assert images.pixels_NHWC.ndim == 4
        assert images.pixels_NHWC.shape[3] in (1, 3)
        assert images.labels_N.dtype == np.int64
        assert len(images.pixels_NHWC) == len(images.labels_N) == len(images.content_N)
        assert set(images.labels_N.tolist()) <= set(range(classes))
    assert set(source.train.labels_N.tolist()) == set(range(classes))


def test_images_are_images(data: DataConfig) -> None:
    """Not all of one colour, and not all alike."""
    for images in images_of(load(data)):
        assert images.pixels_NHWC.std(axis=(1, 2)).max() > 0
        assert len(set(images.content_N.tolist())) > 1


def test_the_same_files_give_the_same_images(data: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = load(data), load(data)
    monkeypatch.setenv("CIL_CACHE", str(tmp_path / "another cache"))
    for again in (second, load(data)):
        assert again.fingerprint == first.fingerprint
        for images, others in zip(images_of(again), images_of(first), strict=True):
            assert (images.pixels_NHWC == others.pixels_NHWC).all()
            assert (images.labels_N == others.labels_N).all()


def test_images_are_stored_at_the_size_that_is_asked_for(data: DataConfig) -> None:
    resized = load(data.model_copy(update={"resize": 12}))
    assert {images.pixels_NHWC.shape[1:3] for images in images_of(resized)} == {(12, 12)}
    assert resized.fingerprint != load(data).fingerprint
    assert resized.class_names == load(data).class_names


def test_an_image_is_known_by_what_it_was_before_it_was_resized(data: DataConfig) -> None:
    small, large = (load(data.model_copy(update={"resize": side})) for side in (4, 7))
    assert small.train.pixels_NHWC.shape[1] < large.train.pixels_NHWC.shape[1]
    assert (small.train.content_N == large.train.content_N).all()


def test_some_of_its_classes_can_be_taken_in_an_order_of_their_own(data: DataConfig) -> None:
    every = load(data)
    labels = (len(every.class_names) - 1, 0)
    last, first = (every.class_names[label] for label in labels)
    some = load(data.model_copy(update={"classes": (last, first)}))
    assert some.class_names == (last, first)
    for images, others in zip(images_of(some), images_of(every), strict=True):
        for place, label in enumerate(labels):
            assert ((images.labels_N == place) == (others.labels_N == label)).all()
    order = ClassOrder(seed=None)
    found = build(data.model_copy(update={"classes": (last, first)}), Protocol(tasks=2, class_order=order))
    assert found.class_names_C == (last, first)
    assert int(found.counts_C.sum()) <= np.isin(every.train.labels_N, labels).sum()


def test_a_class_that_it_lacks_is_one_line(data: DataConfig) -> None:
    names = load(data).class_names
    near = f"{names[0]}_"
    line = line_of(ConfigError, data.model_copy(update={"classes": (names[1], near)}))
    assert line.startswith(f"data.classes: the data set has no class '{near}'; allowed: {names[0]}, ")


@pytest.mark.parametrize("split", ["test", "validation"])
def test_tasks_can_be_made_of_them(data: DataConfig, split: str) -> None:
    found = build(data.model_copy(update={"evaluation": Evaluation(split=split)}), Protocol(tasks=2))
    assert int(found.counts_C.min()) > 0
    assert sum(found.eval_counts_C) > 0
    assert found.train_pixels_NCHW.shape[1] in (1, 3)


def test_a_path_that_leads_nowhere_is_one_line(data: DataConfig, tmp_path: Path) -> None:
    if data.path is None:
        pytest.skip("reads no files of the user's")
    assert "nowhere" in line_of(UserError, data.model_copy(update={"path": str(tmp_path / "nowhere")}))


def test_a_folder_without_its_files_is_one_line(data: DataConfig, tmp_path: Path) -> None:
    if data.path is None:
        pytest.skip("reads no files of the user's")
    (tmp_path / "empty").mkdir()
    assert "empty" in line_of(UserError, data.model_copy(update={"path": str(tmp_path / "empty")}))


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_reads(name: str) -> None:
    found = module("trainer.data.sources", name)
    assert found.__doc__
    assert found.read.__doc__
