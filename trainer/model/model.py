"""A model as it predicts: the learner of one run after its last task, with the run's own forward pass."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.config.files import parse_run
from trainer.config.run_config import RunConfig
from trainer.data.decode import decode_files
from trainer.data.host_pixels import Pixels
from trainer.data.images import first_ten
from trainer.errors import ConfigError, DataError, nearest_path
from trainer.model.file import About, ModelError, ModelFile, read_model
from trainer.model.folder import find
from trainer.stages.learner import Learner
from trainer.training.evaluate import forward
from trainer.training.options import DeviceOptions
from trainer.training.state import State, new_learner

_IMAGES = 4096
"""decoded images in memory at once, at most; a multiple of what one forward pass takes"""
_PIXELS = 1 << 28
"""values of pixels in memory at once, at most"""


class Scores(NamedTuple):
    """What a model makes of images."""

    scores_NK: Tensor
    """the largest is the predicted class; on the CPU"""
    probabilities_NK: Tensor | None
    """None where the method gives none"""


class Prediction(NamedTuple):
    """A class that an image may show."""

    class_name: str
    class_id: int
    """the data set's own label"""
    score: float
    probability: float | None


class Model:
    """A trained network, what its method keeps, and the run that it is of."""

    def __init__(self, file: ModelFile, options: DeviceOptions) -> None:
        """Raises ModelError where this code cannot use what the file holds, ConfigError for a device not found."""
        self.about: About = file.about
        try:
            self.config: RunConfig = parse_run(dict(file.about.run))
            device, precision = options.resolve_device(), _precision(file.about, options)
            learner = new_learner([self.config], file.about.channels, device, precision)
            learner.load_tensors({**file.tensors, "exemplars_ME": learner.exemplars_ME})
            _convert(learner, torch.float64 if precision == "float64" else torch.float32)
        except (ConfigError, KeyError) as error:
            if isinstance(error, ConfigError) and error.field in ("--device", "--precision"):
                raise
            what = str(error) if isinstance(error, ConfigError) else f"it has no tensor {error}"
            version = f"it is of commit {file.about.git_commit}"
            raise ModelError(f"{file.path}: this version of the code cannot use it: {what} ({version})") from None
        if learner.network.classifier.classes != len(file.about.class_names):
            raise ModelError(f"{file.path}: has names of {len(file.about.class_names)} classes, and scores others")
        self.state = State([self.config], learner, precision)

    @property
    def class_names(self) -> list[str]:
        """In the order of the scores."""
        return self.about.class_names

    def scores(self, pixels_NCHW: Pixels) -> Scores:
        """Classify stored images, uint8 ``[N, C, H, W]``, of the size that the run's had: the run's own evaluation."""
        method, kept = self.config.method, self.state.learner.method_state
        index_N = torch.arange(pixels_NCHW.shape[0], device=self.state.learner.device)
        scores, probabilities = [], []
        with torch.no_grad():
            for _, out in forward(self.state, pixels_NCHW, index_N):
                scores_1BK = method.classify(out, kept)
                found_1BK = method.probabilities(scores_1BK, kept)
                scores.append(scores_1BK[0].cpu())
                probabilities.append(None if found_1BK is None else found_1BK[0].cpu())
        known = [found_BK for found_BK in probabilities if found_BK is not None]
        return Scores(torch.cat(scores), torch.cat(known) if known else None)

    def predict(
        self, paths: Iterable[str | Path], top: int = 5, report: Callable[[str], None] | None = None
    ) -> list[list[Prediction]]:
        """The ``top`` classes of each image file, the best first; fewer where there are fewer classes.

        Files are decoded as in training. ``report`` takes a line for each image that cannot be read, which has no
        classes then. Raises DataError, which names them, where it is not given.
        """
        found: list[list[Prediction]] = []
        for readable_N, pixels_NCHW in self._decoded((Path(path) for path in paths), report):
            predicted = iter(self._predict(pixels_NCHW, top) if pixels_NCHW is not None else ())
            found += [next(predicted) if readable else [] for readable in readable_N]
        return found

    def _predict(self, pixels_NCHW: Tensor, top: int) -> Iterator[list[Prediction]]:
        scores_NK, probabilities_NK = self.scores(pixels_NCHW.to(self.state.learner.device))
        best_Nk = scores_NK.sort(dim=1, descending=True, stable=True).indices[:, :top]
        for image, best_k in enumerate(best_Nk.tolist()):
            yield [
                Prediction(
                    self.about.class_names[k],
                    self.about.class_ids[k],
                    float(scores_NK[image, k]),
                    None if probabilities_NK is None else float(probabilities_NK[image, k]),
                )
                for k in best_k
            ]

    def _decoded(
        self, paths: Iterable[Path], report: Callable[[str], None] | None
    ) -> Iterator[tuple[list[bool], Tensor | None]]:
        """Which files of a batch can be read, and the pixels of those, ``[N, C, H, W]``, if there are any."""
        about = self.about
        shape = (about.height, about.width, about.channels)
        images = max(256, min(_IMAGES, _PIXELS // (shape[0] * shape[1] * shape[2]) // 256 * 256))
        bad: list[tuple[str, str]] = []
        decoded = decode_files(paths, self.config.data)
        while chunk := list(islice(decoded, images)):
            kept: list[NDArray[np.uint8]] = []
            readable_N: list[bool] = []
            for name, found in chunk:
                reason = found if isinstance(found, str) else _misfit(found, shape)
                readable_N.append(reason is None)
                if reason is not None and report is not None:
                    report(f"{name}: {reason}")
                elif reason is not None:
                    bad.append((name, reason))
                elif not isinstance(found, str):
                    kept.append(np.broadcast_to(found, shape))
            if not bad:
                yield readable_N, torch.from_numpy(np.stack(kept)).permute(0, 3, 1, 2) if kept else None
        if bad:
            count = "" if len(bad) == 1 else f"{len(bad)} images cannot be classified: "
            raise DataError(count + first_ten((f"{name}: {reason}" for name, reason in bad), "; "))


def load_model(place: str | Path, options: DeviceOptions | None = None, seed: int | None = None) -> Model:
    """Load a model that ``--keep-model`` has written, from its file or from the folder of its run.

    ``seed``: of the run, where the folder holds several. ``options``: by default a GPU where there is one, and the
    precision of the training. Raises ModelError for what is missing, damaged or of another version.
    """
    return Model(read_model(find(Path(place), seed)), options or DeviceOptions())


def image_files(places: Sequence[Path], suffixes: frozenset[str]) -> list[Path]:
    """The images among files and in folders, and in those within them, each folder's sorted. Raises DataError."""
    found: list[Path] = []
    for place in places:
        if place.is_dir():
            inside = sorted(path for path in place.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
            if not inside:
                raise DataError(f"{place}: no images")
            found += inside
        elif place.exists():
            found.append(place)
        else:
            raise DataError(f"{place}: no such image or folder{nearest_path(place)}")
    return found


def _misfit(pixels_HWC: NDArray[np.uint8], shape: tuple[int, int, int]) -> str | None:
    """Why an image that was decoded is none that the network takes."""
    height, width, channels = pixels_HWC.shape
    if (height, width) != shape[:2]:
        return f"has {width}x{height} pixels, the images of the run {shape[1]}x{shape[0]} (its data.resize is null)"
    return "has colour, and the images of the run were grey" if channels > shape[2] else None


def _precision(about: About, options: DeviceOptions) -> str:
    """That of the training where none is asked for; bfloat16 alone stays on the kind of device that is fast in it."""
    if options.precision != "auto" or about.precision == "bfloat16":
        return options.resolve_precision()
    return about.precision


def _convert(learner: Learner, dtype: torch.dtype) -> None:
    """Every floating-point tensor to this type, whatever the run was trained in."""
    for network in (learner.network, *learner.frozen.values()):
        network.to(dtype)
    learner.method_state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in learner.method_state.items()}
