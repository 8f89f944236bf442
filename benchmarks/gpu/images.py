"""The images of the measurements: a small Parquet file, scikit-learn's digits, or images that are made up."""

import io
import json
from importlib import util
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from trainer.config.run_config import RunConfig
from trainer.data.config import DataConfig, Evaluation, Imbalance
from trainer.data.images import ImageSet, Source
from trainer.data.tasks import TaskStream, build, cut
from trainer.errors import DataError
from trainer.rng import stream

_CLASSES, _TRAIN, _TEST = 20, 500, 20
"""made-up images: classes, and images of each before the tail is cut"""


class Images(NamedTuple):
    """A run with images that are here."""

    config: RunConfig
    task_stream: TaskStream
    about: str
    """one line on what the images are"""


def write(config: RunConfig, file: Path) -> int:
    """Write the images that a run trains on and is measured on as one Parquet file; returns how many.

    The tail is cut already: with ``chosen`` a run has the same images in the same order. Raises what reading the run's
    images raises, and OSError.
    """
    task_stream = build(config.data, config.protocol)
    ids_C = torch.tensor(task_stream.class_ids_C)
    names = [name for _, name in sorted(zip(task_stream.class_ids_C, task_stream.class_names_C, strict=True))]
    rows: dict[str, list[object]] = {"image": [], "label": [], "split": []}
    for split, pixels_NCHW, labels_N in (
        ("train", task_stream.train_pixels_NCHW, task_stream.train_labels_N),
        ("test", task_stream.eval_pixels_NCHW, task_stream.eval_labels_N),
    ):
        if not isinstance(pixels_NCHW, torch.Tensor):
            raise DataError(f"the {split} images do not fit into memory: the file would not be small")
        images = pixels_NCHW.permute(0, 2, 3, 1).numpy()
        rows["image"] += [{"bytes": _png(image), "path": None} for image in images]
        rows["label"] += ids_C[labels_N].tolist()
        rows["split"] += [split] * len(labels_N)
    features = {"label": {"names": names, "_type": "ClassLabel"}}
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema(
        [("image", kind), ("label", pa.int64()), ("split", pa.string())],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(rows, schema=schema), file)
    return len(rows["label"])


def chosen(config: RunConfig, file: Path | None) -> Images:
    """The run on the images of ``file``, which ``write`` has written; without one, on digits or made-up images.

    A run file of digits keeps its images. Raises DataError and ConfigError for a file that does not fit the run.
    """
    data = config.data
    if file is not None:
        data = _whole(data, source="parquet", path=str(file), split_column="split")
        return Images(*_built(config, data), f"the images of {file.name}")
    if data.source == "digits":
        return Images(*_built(config, data), "scikit-learn's digits, as the run file has them")
    if util.find_spec("sklearn") is not None:
        data = _whole(data, source="digits", path=None, resize=data.crop, imbalance=data.imbalance)
        protocol = config.protocol.model_copy(update={"tasks": min(config.protocol.tasks, 5)})
        config = config.model_copy(update={"protocol": protocol})
        return Images(*_built(config, data), "scikit-learn's digits, enlarged: no real photographs")
    data = _whole(data, source="digits", path=None, imbalance=data.imbalance)
    config = config.model_copy(update={"data": data})
    return Images(config, cut(_made_up(data.crop), data, config.protocol), "made-up images: accuracies mean nothing")


def _whole(data: DataConfig, **changes: object) -> DataConfig:
    """The section for images that are not those of the run file: all classes of them, and the tail that they have."""
    own = {
        "classes": None,
        "resize": None,
        "imbalance": Imbalance(),
        "evaluation": Evaluation(),
        "holdout_fraction": 0.0,
    }
    return data.model_copy(update={**own, **changes})


def _built(config: RunConfig, data: DataConfig) -> tuple[RunConfig, TaskStream]:
    config = RunConfig.model_validate(config.model_copy(update={"data": data}).as_dict())
    return config, build(config.data, config.protocol)


def _made_up(side: int) -> Source:
    """A pattern a class, and noise."""
    splits = {}
    for split, count in (("train", _TRAIN), ("test", _TEST)):
        pixels = []
        for label in range(_CLASSES):
            pattern = torch.rand(side, side, 3, generator=stream(0, "made up", label))
            noise = torch.rand(count, side, side, 3, generator=stream(0, "made up", split, label))
            pixels.append(((pattern + 3 * noise) * (255 / 4)).to(torch.uint8))
        splits[split] = ImageSet.of(torch.cat(pixels).numpy(), np.repeat(np.arange(_CLASSES), count))
    return Source.of_splits(splits, map(str, range(_CLASSES)))


def _png(image: np.ndarray) -> bytes:
    """``[H, W, C]``"""
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(file, "PNG")
    return file.getvalue()
