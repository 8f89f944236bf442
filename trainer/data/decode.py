"""Image files to one uint8 array, once: decoded by all cores, kept in the cache, memory-mapped ever after."""

import hashlib
import io
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from trainer.data import cache
from trainer.data.config import DataConfig
from trainer.data.images import Digest, ImageSet
from trainer.errors import ConfigError, DataError

FORMAT = 1
"""version of the cache entries; raise it when decoding changes"""
_CHUNK = 256
_SHOWN = 5

Item = tuple[str, bytes | Path | None]
"""name for messages, and where the encoded image is; None where it is missing"""


@dataclass(frozen=True)
class Listing:
    """A split before it is decoded."""

    name: str
    labels_N: NDArray[np.int64]
    items: Callable[[], Iterator[Item]]
    """the images in the order of the labels; may be walked more than once"""
    content: str
    """hash of names, labels and encoded bytes"""


@dataclass(frozen=True)
class _Bad:
    reason: str


def decoded(listing: Listing, config: DataConfig, resize: int | None) -> ImageSet:
    """The split's images, from the cache if they were decoded before.

    ``resize``: short side in pixels; the centre square of that side is kept. None: as they are, all of one size.
    Raises DataError for bad images (unless they are to be skipped, then stderr names them) and ConfigError
    for images of several sizes.
    """
    if not len(listing.labels_N):
        raise DataError(f"{listing.name}: no images")
    options = json.dumps([FORMAT, PIL.__version__, listing.content, resize])
    key = hashlib.sha256(options.encode()).hexdigest()[:32]
    strict = config.on_bad_image == "error"
    folder = cache.entry(key, lambda folder: _write(folder, listing, resize, strict))
    images, bad = _open(folder)
    if bad:
        _complain(listing, bad, strict)
    return images


def decode_image(content: bytes | Path | None, resize: int | None) -> NDArray[np.uint8]:
    """uint8, ``[H, W]`` for a grey image, else ``[H, W, 3]``. Raises whatever Pillow raises."""
    if content is None:
        raise FileNotFoundError("missing")
    opened = io.BytesIO(content) if isinstance(content, bytes) else content
    with warnings.catch_warnings(), Image.open(opened) as file:
        warnings.simplefilter("ignore")  # Pillow on odd but readable metadata
        image: Image.Image = file
        if file.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(file) >> 8).astype(np.uint8))
        image = image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
    return np.asarray(image if resize is None else _square(image, resize))


def resized(pixels_NHWC: NDArray[np.uint8], resize: int | None) -> NDArray[np.uint8]:
    """Images that came decoded, as ``decoded`` would store them."""
    if resize is None:
        return pixels_NHWC
    grey = pixels_NHWC.shape[3] == 1
    squares = [_square(Image.fromarray(image[..., 0] if grey else image), resize) for image in pixels_NHWC]
    stacked = np.stack([np.asarray(square) for square in squares])
    return stacked[..., None] if grey else stacked


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))


def _square(image: Image.Image, side: int) -> Image.Image:
    """Short side to ``side`` (bilinear, sizes as torchvision's Resize), then the centre square."""
    width, height = image.size
    short = min(width, height)
    if short != side:
        width, height = (side * width // short, side * height // short)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - side) // 2, (height - side) // 2
    return image.crop((left, top, left + side, top + side))


def _write(folder: Path, listing: Listing, resize: int | None, strict: bool) -> None:
    """Fill a cache entry."""
    with ThreadPoolExecutor(cores()) as pool:
        try:
            _Writer(folder, listing, resize, strict).run(pool, grey=True)
        except _MixedModesError:
            _Writer(folder, listing, resize, strict).run(pool, grey=False)


class _MixedModesError(Exception):
    """A colour image came after grey ones: all are to be kept as colour."""


class _Writer:
    """One pass over a split."""

    def __init__(self, folder: Path, listing: Listing, resize: int | None, strict: bool) -> None:
        self.folder, self.listing, self.resize, self.strict = folder, listing, resize, strict
        self.shape: tuple[int, ...] | None = None
        self.first = ""
        self.kept: list[int] = []
        self.bad: list[tuple[str, str]] = []

    def run(self, pool: ThreadPoolExecutor, *, grey: bool) -> None:
        """``grey``: keep one channel as long as no image has colour."""
        digest: Digest | None = None
        with (self.folder / "pixels.u8").open("wb") as file:
            for start, chunk in _chunks(self.listing.items()):
                good = self._decode(pool, start, chunk, grey)
                if not good:
                    continue
                pixels_NHWC = np.stack(good)
                digest = digest or Digest(pixels_NHWC.shape[1:])
                digest.add(pixels_NHWC)
                file.write(pixels_NHWC.data)
            file.flush()
            os.fsync(file.fileno())
        if digest is None or self.shape is None:
            name, reason = self.bad[0]
            raise DataError(f"{self.listing.name}: no image can be read, the first is {name}: {reason}")
        labels_N = self.listing.labels_N[self.kept]
        np.save(self.folder / "labels.npy", labels_N)
        shape = [len(self.kept), *self.shape]
        meta = {"shape": shape, "digest": digest.finish(labels_N), "bad": self.bad}
        (self.folder / "meta.json").write_text(json.dumps(meta))

    def _decode(
        self, pool: ThreadPoolExecutor, start: int, chunk: Sequence[Item], grey: bool
    ) -> list[NDArray[np.uint8]]:
        good = []
        for offset, (item, found) in enumerate(zip(chunk, pool.map(self._try, chunk), strict=True)):
            if isinstance(found, _Bad):
                self.bad.append((item[0], found.reason))
                if self.strict:
                    _complain(self.listing, self.bad, strict=True)
                continue
            self.kept.append(start + offset)
            good.append(self._fit(item[0], found, grey))
        return good

    def _try(self, item: Item) -> NDArray[np.uint8] | _Bad:
        try:
            return decode_image(item[1], self.resize)
        except Exception as error:  # Pillow's readers raise many kinds on corrupt files
            if isinstance(error, FileNotFoundError):
                return _Bad("missing")
            return _Bad(
                f"cannot be decoded ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"
            )

    def _fit(self, name: str, pixels: NDArray[np.uint8], grey: bool) -> NDArray[np.uint8]:
        """``[H, W, C]`` of the split's one shape."""
        if self.shape is None:
            grey_now = grey and pixels.ndim == 2
            self.shape, self.first = (*pixels.shape[:2], 1 if grey_now else 3), name
        if pixels.shape[:2] != self.shape[:2]:
            raise ConfigError(
                f"{self.listing.name}: images differ in size ({self.first} is {_size(self.shape)}, {name} is "
                f"{_size(pixels.shape)}): give the short side in pixels that all are to be stored at",
                field="data.resize",
            )
        if self.shape[2] == 1:
            if pixels.ndim == 3:
                raise _MixedModesError
            return pixels[:, :, None]
        return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)


def _size(shape: Sequence[int]) -> str:
    return f"{shape[1]}x{shape[0]}"


def _chunks(items: Iterator[Item]) -> Iterator[tuple[int, list[Item]]]:
    """``(position of the first, items)``, so that few encoded images are in memory at once."""
    start, chunk = 0, []
    for item in items:
        chunk.append(item)
        if len(chunk) == _CHUNK:
            yield start, chunk
            start, chunk = start + len(chunk), []
    if chunk:
        yield start, chunk


def _open(folder: Path) -> tuple[ImageSet, list[tuple[str, str]]]:
    try:
        meta = json.loads((folder / "meta.json").read_text())
        pixels_NHWC = np.memmap(folder / "pixels.u8", dtype=np.uint8, mode="r", shape=tuple(meta["shape"]))
        return ImageSet(pixels_NHWC, np.load(folder / "labels.npy"), meta["digest"]), meta["bad"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"the image cache entry {folder} is damaged ({error}); delete that folder") from error


def _complain(listing: Listing, bad: Sequence[tuple[str, str]], strict: bool) -> None:
    """Bad images are an error, or are named on stderr: never passed over in silence."""
    if strict:
        name, reason = bad[0]
        raise DataError(f"{name}: {reason}; data.on_bad_image: skip leaves such images out")
    shown = "; ".join(f"{name}: {reason}" for name, reason in bad[:_SHOWN])
    more = f"; and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    print(
        f"warning: {listing.name}: {len(bad)} of {len(listing.labels_N)} images skipped: {shown}{more}", file=sys.stderr
    )
