"""``data.classes``: a choice of classes is a data set of its own, and a bad one is a line that names it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.runs import tiny_run
from trainer.config.files import dump_run, load_run
from trainer.data.config import DataConfig, Evaluation, Imbalance, Protocol
from trainer.data.sources import load
from trainer.data.tasks import TaskStream, build
from trainer.errors import ConfigError

CHOSEN = ("fox", "ant", "cow", "bee")


@pytest.fixture
def animals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataConfig:
    """Six classes of 12 training images, of which four pairs have one image in common, without test images."""
    monkeypatch.setenv("CIL_CACHE", str(tmp_path / "cache"))
    for number, name in enumerate(("ant", "bee", "cat", "cow", "dog", "fox")):
        (tmp_path / "set" / name).mkdir(parents=True)
        for image in range(12):
            seed = 100 * number + image if image else number // 2
            pixels_HWC = np.random.RandomState(seed).randint(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels_HWC).save(tmp_path / "set" / name / f"{image:02}.png")
    return DataConfig(source="image_folder", path=str(tmp_path / "set"), crop=8, pad=1, imbalance=Imbalance(ratio=4))


def images(found: TaskStream) -> list[object]:
    train, measured = found.train_pixels_NCHW, found.eval_pixels_NCHW
    counts = [found.train_labels_N.tolist(), found.eval_labels_N.tolist(), found.class_names_C, found.class_ids_C]
    return [np.asarray(train).tolist(), np.asarray(measured).tolist(), *counts]


@pytest.mark.parametrize("split", ["test", "validation"])
def test_it_is_as_if_the_data_set_had_no_others(animals: DataConfig, split: str) -> None:
    data, protocol = animals.model_copy(update={"evaluation": Evaluation(split=split)}), Protocol(tasks=2)
    chosen = build(data.model_copy(update={"classes": CHOSEN}), protocol)
    Path(str(animals.path), "classes.txt").write_text("\n".join(CHOSEN))
    assert images(chosen) == images(build(data, protocol))


def test_numbers_are_labels_where_no_class_has_one_for_a_name(animals: DataConfig) -> None:
    by_number = DataConfig.model_validate({**animals.model_dump(), "classes": [5, 0, "cow", 1]})
    assert load(by_number).class_names == CHOSEN
    digits = DataConfig(source="digits", classes=("7", "3"), crop=8)
    assert load(digits).class_names == ("7", "3")


@pytest.mark.parametrize(
    ("classes", "line"),
    [
        (["ant", "beee"], "no class 'beee'; allowed: ant, bee, cat, cow, dog, fox; or 0 to 5; did you mean 'bee'?"),
        (["ant", 6], "data.classes: the data set has no class '6'; allowed: ant, bee, cat, cow, dog, fox; or 0 to 5"),
        (["ant", "cat", "ant"], "data.classes: names a class twice: 'ant'"),
        (["ant", 0], "data.classes: names a class twice: 'ant' and '0'"),
    ],
)
def test_classes_that_there_are_not(animals: DataConfig, classes: list[str | int], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(DataConfig.model_validate({**animals.model_dump(), "classes": classes}))
    assert str(caught.value).endswith(line)


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("20", "data.classes: 20 is not allowed; allowed: a list"),
        ("[ant]", "data.classes: ('ant',) is not allowed; allowed: at least 2 values"),
        ("[ant, 1.5]", "data.classes.1: 1.5 is not allowed; allowed: text"),
        ("[ant, true]", "data.classes.1: True is not allowed; allowed: text"),
    ],
)
def test_values_that_are_no_list_of_names(value: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_run("runs/digits_lfs5.yaml", [f"data.classes={value}"])
    assert line in str(caught.value)


def test_it_is_part_of_what_names_a_run(tmp_path: Path) -> None:
    every, some = tiny_run("finetune"), tiny_run("finetune", data={"classes": ["3", "1", "4"]})
    assert len({every.run_id, some.run_id, tiny_run("finetune", data={"classes": ["1", "3", "4"]}).run_id}) == 3
    file = tmp_path / "some.yaml"
    file.write_text(dump_run(some))
    assert load_run(file).config == some
