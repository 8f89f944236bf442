"""The graphs of models, as programs without this project run them."""

from pathlib import Path
from typing import Any

import pytest
import torch

from support.runs import FEW_IMAGES, tiny_run
from trainer.config.files import dump_run
from trainer.model.model import load_model
from trainer.predict import main as predict
from trainer.run import main as run
from trainer.training.options import DeviceOptions

pytestmark = pytest.mark.slow


def run_torch(file: Path, pixels_NCHW: torch.Tensor) -> list[Any]:
    return list(torch.export.load(file).module()(pixels_NCHW))


def run_onnx(file: Path, pixels_NCHW: torch.Tensor) -> list[Any]:
    session = pytest.importorskip("onnxruntime").InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return [torch.from_numpy(one) for one in session.run(None, {"pixels": pixels_NCHW.numpy()})]


@pytest.mark.parametrize(
    ("method", "form", "file", "run_graph"),
    [("foster", "torch", "export.pt2", run_torch), ("icarl", "onnx", "export.onnx", run_onnx)],
    ids=["several backbones", "means of classes"],
)
def test_a_graph_gives_the_numbers_of_the_model(
    method: str, form: str, file: str, run_graph: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.yaml").write_text(dump_run(tiny_run(method, data=FEW_IMAGES, optim={"epochs": 1})))
    assert run([str(tmp_path / "tiny.yaml"), "--out", str(tmp_path), "--keep-model", "--device", "cpu"]) == 0
    assert predict([str(tmp_path), "--export", form, "--device", "cpu"]) == 0
    assert f"graph: {tmp_path / file}, checked" in capsys.readouterr().out
    images = torch.randint(0, 256, (7, 1, 8, 8), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    expected = [one for one in load_model(tmp_path, DeviceOptions(device="cpu")).scores(images) if one is not None]
    found = run_graph(tmp_path / file, images)
    assert len(found) == len(expected) == (1 if method == "icarl" else 2)
    for one, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(one, wanted, rtol=1e-4, atol=1e-4)
