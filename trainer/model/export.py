"""A model as a graph for other programs: ``torch.export`` without further packages, or ONNX.

The graph takes stored images, uint8 ``[B, C, H, W]`` with any B, and returns the scores ``[B, K]`` and, where the
method gives them, the probabilities ``[B, K]``: centre crop, normalisation and corrections are part of it.
"""

import contextlib
import importlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainer.data.augment import centre
from trainer.errors import ConfigError, Error
from trainer.model.model import Model
from trainer.stages import second_stage as stage2

TOLERANCE = 1e-4
"""scores of a graph may differ by this from the model's, absolute and relative: sums are taken in another order"""
_CHECKED = 5
"""images that a written graph is checked with: another number than it was made with"""


class ExportError(Error):
    """A graph that gives other numbers than the model."""


class Graph(nn.Module):
    """The forward pass of a model, from stored images to scores and probabilities."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self._model, learner = model, model.state.learner
        self.network = learner.network.eval().requires_grad_(False)
        self.frozen = nn.ModuleDict(learner.frozen)
        self._names = list(learner.method_state)
        for number, name in enumerate(self._names):
            self.register_buffer(f"kept_{number}", learner.method_state[name])

    def forward(self, pixels_NCHW: Tensor) -> tuple[Tensor, ...]:
        config, learner = self._model.config, self._model.state.learner
        kept = {name: self.get_buffer(f"kept_{number}") for number, name in enumerate(self._names)}
        index_N = torch.arange(pixels_NCHW.shape[0], device=pixels_NCHW.device)
        out = config.method.evaluate(learner, centre(pixels_NCHW, index_N, config.data, learner.dtype))
        scores_1NK = config.method.classify(stage2.scaled(learner.network, out), kept)
        found_1NK = config.method.probabilities(scores_1NK, kept)
        return (scores_1NK[0],) if found_1NK is None else (scores_1NK[0], found_1NK[0])


def graph(model: Model, form: str) -> bytes:
    """The file of a graph, ``torch`` (``.pt2``) or ``onnx``, checked against the model.

    Raises ConfigError where ONNX is not installed, ExportError for a graph whose scores differ by more than TOLERANCE.
    """
    if form == "onnx":
        _need_onnx()
    pixels_NCHW = _images(model, 2)
    with _quiet(), torch.no_grad():
        program = torch.export.export(Graph(model), (pixels_NCHW,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
        content = _onnx(program) if form == "onnx" else _pt2(program)
        _check(model, _run_onnx(content) if form == "onnx" else _run_pt2(content), form)
    return content


def _images(model: Model, count: int) -> Tensor:
    about, stream = model.about, torch.Generator().manual_seed(count)
    shape = (count, about.height, about.width, about.channels)
    pixels_NHWC = torch.randint(0, 256, shape, generator=stream, dtype=torch.uint8)
    return pixels_NHWC.permute(0, 3, 1, 2).contiguous().to(model.state.learner.device)


def _pt2(program: torch.export.ExportedProgram) -> bytes:
    content = io.BytesIO()
    torch.export.save(program.run_decompositions({}), content)
    return content.getvalue()


def _run_pt2(content: bytes) -> Any:
    return torch.export.load(io.BytesIO(content)).module()


def _onnx(program: torch.export.ExportedProgram) -> bytes:
    names = ["scores", "probabilities"][: len(program.graph_signature.user_outputs)]
    made = torch.onnx.export(program, (), dynamo=True, input_names=["pixels"], output_names=names, verbose=False)
    assert made is not None
    return bytes(made.model_proto.SerializeToString())


def _run_onnx(content: bytes) -> Any:
    session = importlib.import_module("onnxruntime").InferenceSession(content, providers=["CPUExecutionProvider"])

    def called(pixels_NCHW: Tensor) -> Sequence[Tensor]:
        found = session.run(None, {session.get_inputs()[0].name: pixels_NCHW.cpu().numpy()})
        return [torch.from_numpy(np.asarray(one)) for one in found]

    return called


def _check(model: Model, made: Any, form: str) -> None:
    pixels_NCHW = _images(model, _CHECKED)
    with torch.no_grad():
        found = made(pixels_NCHW)
    expected = [one for one in model.scores(pixels_NCHW) if one is not None]
    for one, wanted in zip(found, expected, strict=True):
        if not torch.allclose(one.cpu().to(wanted.dtype), wanted, rtol=TOLERANCE, atol=TOLERANCE):
            largest = float((one.cpu() - wanted).abs().max())
            raise ExportError(f"the {form} graph differs from the model by {largest:.2g}, more than {TOLERANCE}")


def _need_onnx() -> None:
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        problem = f"needs {', '.join(missing)}: pip install 'imbalanced-cil-sweeper[onnx]'"
        raise ConfigError(problem, field="--export onnx")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Within: what exporters say about their own progress and future is not printed."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
