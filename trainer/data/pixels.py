"""An opened image file as 8 bits a channel: upright, grey or RGB, no alpha, deeper values scaled by a stated range."""

import contextlib
import re
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps
from PIL.ImageFile import ImageFile

from trainer.data.config import DataConfig
from trainer.errors import ConfigError, DataError

BACKGROUNDS = {"white": 255, "grey": 128, "black": 0}
"""grey levels, so that grey images stay grey"""
_GREY = {"1", "L", "LA", "La"}
_SIXTEEN = re.compile(r";16[BLN]")
"""Pillow's name for channels of 16 bits in a file, of which it keeps the upper 8 where there are several"""
_DEFAULT_RANGE = {"I": (0.0, 65535.0), "F": (0.0, 1.0)}


class Depth(NamedTuple):
    """The values of images with more than 8 bits a channel."""

    name: str
    """the image that has the largest value"""
    mode: str
    """I: integers of one channel; F: fractions of one channel; RGB: the upper bytes of 16-bit colours"""
    low: float
    high: float

    def over(self, other: Self | None) -> Self:
        """Those of both together."""
        if other is None:
            return self
        larger = self if self.high > other.high else other
        return larger._replace(low=min(self.low, other.low))


class Upright(NamedTuple):
    """An image file of 8 bits a channel."""

    image: Image.Image
    """of mode L or RGB"""
    depth: Depth | None
    """the values that there were, if they were of more than 8 bits"""
    turned: bool
    """whether it was turned or mirrored as its EXIF orientation says"""


def eight_bit(image: ImageFile, name: str, config: DataConfig) -> Upright:
    """A file that was just opened, as 8 bits a channel.

    EXIF's orientation is applied, transparent pixels show ``data.background``, and of several frames the first is used.
    One channel of more than 8 bits is scaled from ``data.value_range``, or from 0..65535 (integers) and 0..1
    (fractions). Raises OSError and others of Pillow for a damaged file.
    """
    sixteen = _SIXTEEN.search(str([tile.args for tile in image.tile])) is not None
    image.load()
    turned = False
    with contextlib.suppress(Exception):  # damaged EXIF does not make the pixels unreadable
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode[0] in "IF":
        return Upright(*_scaled(image, name, config), turned)
    opaque = _composited(image, BACKGROUNDS[config.background]) if image.has_transparency_data else image
    found = opaque.convert("L" if opaque.mode in _GREY else "RGB")
    return Upright(found, _upper_bytes(found, name) if sixteen else None, turned)


def eight_bit_arrays(values_NHWC: NDArray[Any], where: str, config: DataConfig) -> NDArray[np.uint8]:
    """Decoded images of 1, 3 or 4 channels as ``[N, H, W, 1]`` or ``[N, H, W, 3]``, by the same rules.

    Raises DataError for values that are no numbers, ConfigError for those that do not fit ``data.value_range``.
    """
    kind = values_NHWC.dtype.kind
    if kind not in "buif" or (kind == "f" and not np.isfinite(values_NHWC).all()):
        raise DataError(f"{where}: pixels that are not finite numbers ({values_NHWC.dtype})")
    if kind == "b":
        values_NHWC = values_NHWC.astype(np.uint8) * 255
    elif values_NHWC.dtype != np.uint8:
        mode = "F" if kind == "f" else "I"
        check_depth(Depth(where, mode, float(values_NHWC.min()), float(values_NHWC.max())), config)
        values_NHWC = np.stack([_levels(values_HWC, mode, config) for values_HWC in values_NHWC])
    if values_NHWC.shape[3] == 4:
        alpha_NHW1, level = values_NHWC[..., 3:] / 255, BACKGROUNDS[config.background]
        values_NHWC = np.rint(values_NHWC[..., :3] * alpha_NHW1 + level * (1 - alpha_NHW1)).astype(np.uint8)
    return values_NHWC


def check_depth(depth: Depth, config: DataConfig) -> None:
    """Raises ConfigError where the values of all images together do not fit the range that they were scaled from.

    12 bits in files of 16 would come out nearly black, and fractions up to 255 white, in silence.
    """
    if config.value_range is not None and depth.mode != "RGB":
        return
    low, high = (0.0, 255.0) if depth.mode == "RGB" else _DEFAULT_RANGE[depth.mode]
    if depth.low >= low and high / 2 <= depth.high <= high:
        return
    if depth.mode == "RGB":
        raise ConfigError(
            f"{depth.name}: colours of 16 bits a channel of which less than 15 are used, too dark when read as 8 bits: "
            "save the images with 8 bits a channel"
        )
    kind = "fractions" if depth.mode == "F" else "integers of more than 8 bits"
    raise ConfigError(
        f"{depth.name}: pixels are {kind} from {depth.low:g} to {depth.high:g} over all images, not {low:g} to "
        f"{high:g}: give the values that become black and white, such as [0, {_likely_white(depth.high):g}]",
        field="data.value_range",
    )


def _likely_white(high: float) -> float:
    """The end of the usual range that a largest value belongs to: 1, 255, 1023, 4095, ..."""
    return 1 if high <= 1 else 2 ** max(8, int(np.ceil(np.log2(high + 1)))) - 1


def _scaled(image: Image.Image, name: str, config: DataConfig) -> tuple[Image.Image, Depth]:
    values_HW = np.asarray(image).astype(np.float64)
    if not np.isfinite(values_HW).all():
        raise ValueError("pixels that are not finite numbers")
    mode = image.mode[0]
    depth = Depth(name, mode, float(values_HW.min()), float(values_HW.max()))
    return Image.fromarray(_levels(values_HW, mode, config)), depth


def _levels(values: NDArray[Any], mode: str, config: DataConfig) -> NDArray[np.uint8]:
    """0 to 255 from the stated range, or the mode's own; what lies beyond is black or white."""
    low, high = config.value_range or _DEFAULT_RANGE[mode]
    return np.rint((values.astype(np.float64).clip(low, high) - low) * (255 / (high - low))).astype(np.uint8)


def _upper_bytes(image: Image.Image, name: str) -> Depth:
    return Depth(name, "RGB", 0.0, float(np.asarray(image).max()))


def _composited(image: Image.Image, level: int) -> Image.Image:
    """Over a background of that grey level, in the mode without alpha."""
    grey = image.mode in _GREY
    image = image.convert("LA" if grey else "RGBA")
    background = Image.new("L" if grey else "RGB", image.size, level if grey else (level, level, level))
    background.paste(image.convert(background.mode), mask=image.getchannel("A"))
    return background
