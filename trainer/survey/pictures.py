"""A survey as pictures: the tail before and after the cut, and images of frequent and rare classes."""

import io
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from trainer.data.augment import centre, pixels_again
from trainer.errors import UserError, os_reason
from trainer.files import atomic_write
from trainer.survey.found import Survey
from trainer.survey.text import largest_first

_IMAGES = 8
"""of a class"""
_CLASSES = 2
"""of the head, of the middle and of the tail"""
_NAMED = 40
"""classes that are named below the bars"""


def draw(found: Survey, folder: Path) -> list[Path]:
    """Write ``tail.png`` and, where it is known what is trained on, ``images.png``. Returns their paths.

    Raises UserError where the folder cannot be written.
    """
    figures = {"tail.png": _tail(found)}
    if found.trained_C and found.data.crop <= min(found.source.train.pixels_NHWC.shape[1:3]):
        figures["images.png"] = _images(found)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, figure in figures.items():
            content = io.BytesIO()
            figure.savefig(content, dpi=120)
            atomic_write(folder / name, content.getvalue())
    except OSError as error:
        raise UserError(f"--out {folder}: cannot be written: {os_reason(error)}") from None
    return [folder / name for name in figures]


def _tail(found: Survey) -> Figure:
    labels, names = largest_first(found), found.source.class_names
    figure = Figure(figsize=(max(5.0, min(14.0, 0.3 * len(labels))), 4), layout="constrained")
    axes = figure.add_subplot()
    place_C = np.arange(len(labels))
    axes.bar(place_C, [found.found_C[label] for label in labels], color="#c9c9c9", width=0.9, label="found")
    if found.trained_C:
        kept_C = [len(found.trained_C[label]) for label in labels]
        axes.bar(place_C, kept_C, color="#1b6ca8", width=0.9, label="trained on")
    if len(labels) <= _NAMED:
        axes.set_xticks(place_C, [_plain(names[label]) for label in labels], rotation=60, ha="right")
    axes.set(xlabel="class, the largest first", ylabel="training images")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _images(found: Survey) -> Figure:
    """A row of images for each of some classes, as the network is shown them when it is measured."""
    order = largest_first(found)
    middle = max((len(order) - _CLASSES) // 2, 0)
    parts = {"head": order[:_CLASSES], "middle": order[middle : middle + _CLASSES], "tail": order[-_CLASSES:]}
    rows = {label: part for part, labels in parts.items() for label in labels}
    figure = Figure(figsize=(8, 1.15 * len(rows) + 0.4), layout="constrained")
    for axes, (label, part) in zip(np.ravel(figure.subplots(len(rows), 1)), rows.items(), strict=True):
        strip_HWC = _strip(found, label)
        grey = strip_HWC.shape[2] == 1
        axes.imshow(strip_HWC[..., 0] if grey else strip_HWC, cmap="gray" if grey else None, vmin=0, vmax=255)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        count = len(found.trained_C[label])
        axes.set_title(f"{part}: {_plain(found.source.class_names[label])} ({count})", fontsize=8, loc="left")
    return figure


def _strip(found: Survey, label: int) -> NDArray[np.uint8]:
    """Some of a class's training images side by side, evenly from the first to the last; white where it has fewer."""
    own_n, data = found.trained_C[label], found.data
    chosen_n = own_n[np.unique(np.linspace(0, len(own_n) - 1, min(_IMAGES, len(own_n))).round().astype(np.int64))]
    pixels_NCHW = torch.from_numpy(np.array(found.source.train.pixels_NHWC[chosen_n])).permute(0, 3, 1, 2)
    seen = pixels_again(centre(pixels_NCHW, torch.arange(len(chosen_n)), data, torch.float32), data).numpy()
    strip = np.full((data.crop, _IMAGES * (data.crop + 1), seen.shape[3]), 255, dtype=np.uint8)
    for number, image_HWC in enumerate(seen):
        left = number * (data.crop + 1)
        strip[:, left : left + data.crop] = image_HWC
    return strip


def _plain(name: str) -> str:
    """Without what matplotlib reads as mathematics."""
    return name.replace("$", r"\$")[:40]
