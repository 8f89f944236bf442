"""Every method's model predicts what the evaluation of its run predicted, from the file that keeps it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from support.runs import FEW_IMAGES, tiny_run
from trainer.config.run_config import RunConfig
from trainer.data.tasks import TaskStream, build
from trainer.methods.base import METHODS
from trainer.model.evaluation import measured
from trainer.model.folder import keep
from trainer.model.model import Model, load_model
from trainer.results.rows import RunResult
from trainer.training.checkpoint import FileSlot
from trainer.training.options import DeviceOptions
from trainer.training.session import train

CPU = DeviceOptions(device="cpu")
every_method = pytest.mark.parametrize("name", METHODS.names())


def kept(
    folder: Path, configs: list[RunConfig], options: DeviceOptions = CPU
) -> tuple[list[Model], list[RunResult], TaskStream]:
    task_stream, slot = build(configs[0].data, configs[0].protocol), FileSlot(folder / "checkpoint.pt")
    results = train(configs, options, checkpoint=slot, task_stream=task_stream)
    assert len(keep(folder, slot, configs, results, task_stream)) == len(configs)
    return [load_model(folder, CPU, config.seed) for config in configs], results, task_stream


def assert_as_recorded(model: Model, result: RunResult, task_stream: TaskStream) -> None:
    found = measured(model, task_stream)
    last = [row for row in result.classes if row.task == result.tasks_done - 1]
    correct = [round((row.acc_pct or 0) / 100 * (row.eval_images or 0)) for row in last]
    assert found.correct_C == correct
    assert list(found.class_names) == [row.class_name for row in last]
    assert found.accuracy_pct == pytest.approx(result.last_acc_class_weighted_pct, abs=1e-9)
    assert found.ece_pct == (None if result.ece_pct is None else pytest.approx(result.ece_pct, abs=1e-4))


@every_method
def test_predictions_are_those_of_the_run(name: str, tmp_path: Path) -> None:
    configs = [tiny_run(name, data={**FEW_IMAGES, "evaluation": {"split": "test"}}, seed=seed) for seed in (0, 1)]
    models, results, task_stream = kept(tmp_path, configs)
    for model, result in zip(models, results, strict=True):
        assert_as_recorded(model, result, task_stream)
    # As image files: the digits as they are stored.
    shown = range(0, len(task_stream.eval_labels_N), 40)
    paths = [tmp_path / f"{number}.png" for number in shown]
    for number, path in zip(shown, paths, strict=True):
        Image.fromarray(task_stream.eval_pixels_NCHW[number, 0].numpy()).save(path)
    predictions = models[0].predict(paths, top=3)
    expected_NK = models[0].scores(task_stream.eval_pixels_NCHW).scores_NK[list(shown)]
    for best, scores_K in zip(predictions, expected_NK, strict=True):
        assert best[0].class_name == models[0].class_names[int(scores_K.argmax())]
        assert [one.score for one in best] == pytest.approx(scores_K.topk(3).values.tolist(), abs=1e-5)


@pytest.mark.parametrize(
    "changes", [{"stage2": {"epochs": 1}}, {"memory": {"per_class": 0}}, {"net": {"name": "small", "shortcut": "pad"}}]
)
@pytest.mark.parametrize("name", ["icarl", "bic"])
def test_sections_that_change_how_images_are_classified(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    (model,), (result,), task_stream = kept(tmp_path, [tiny_run(name, data=FEW_IMAGES, **changes)])
    assert_as_recorded(model, result, task_stream)


def test_a_run_in_float64_stays_in_it(tmp_path: Path) -> None:
    exact = DeviceOptions(device="cpu", precision="float64")
    (model,), (result,), task_stream = kept(tmp_path, [tiny_run("wa", data=FEW_IMAGES)], exact)
    assert model.scores(task_stream.eval_pixels_NCHW).scores_NK.dtype == torch.float64
    assert_as_recorded(model, result, task_stream)
