"""Image files to one uint8 array, once: decoded by all cores, kept in the cache, memory-mapped ever after."""

import hashlib
import io
import itertools
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from trainer.data import cache
from trainer.data.config import DataConfig
from trainer.data.images import ImageSet, Labels
from trainer.errors import ConfigError, DataError

FORMAT = 1
"""version of the cache entries; raise it when decoding changes"""
_CHUNK = 256
_SHOWN = 5

Item = tuple[str, bytes | Path | None]
"""name for messages, and where the encoded image is; None where it is missing"""
_Decoded = tuple[str, NDArray[np.uint8] | str]
"""name, and ``[H, W, C]`` or why there is none"""


@dataclass(frozen=True)
class Listing:
    """A split before it is decoded."""

    name: str
    labels_N: Labels
    items: Callable[[], Iterator[Item]]
    """the images in the order of the labels; may be walked more than once"""
    content: str
    """hash of names, labels and encoded bytes"""


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
    try:
        meta = json.loads((folder / "meta.json").read_text())
        pixels_NHWC = np.memmap(folder / "pixels.u8", dtype=np.uint8, mode="r", shape=tuple(meta["shape"]))
        images, bad = ImageSet(pixels_NHWC, np.load(folder / "labels.npy"), meta["digest"]), meta["bad"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"the image cache entry {folder} is damaged ({error}); delete that folder") from error
    if bad:
        _complain(listing, bad, strict)
    return images


def resized(pixels_NHWC: NDArray[np.uint8], resize: int | None) -> NDArray[np.uint8]:
    """Images that came decoded, as ``decoded`` would store them."""
    if resize is None:
        return pixels_NHWC
    images = pixels_NHWC[..., 0] if pixels_NHWC.shape[3] == 1 else pixels_NHWC
    return np.stack([_stored(Image.fromarray(image), resize) for image in images])


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))


def _stored(image: Image.Image, side: int | None) -> NDArray[np.uint8]:
    """``[H, W, C]``: as it is, or short side to ``side`` (bilinear, sizes as torchvision's Resize), then the centre."""
    if side is not None:
        width, height = image.size
        short = min(width, height)
        if short != side:
            width, height = side * width // short, side * height // short
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        left, top = (width - side) // 2, (height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    return np.atleast_3d(np.asarray(image))


def _write(folder: Path, listing: Listing, resize: int | None, strict: bool) -> None:
    """Fill a cache entry: with one channel if no image has colour, else with three."""
    with ThreadPoolExecutor(cores()) as pool:
        if not _fill(folder, listing, _decode_all(pool, listing, resize), strict, channels=1):
            _fill(folder, listing, _decode_all(pool, listing, resize), strict, channels=3)


def _fill(folder: Path, listing: Listing, images: Iterator[_Decoded], strict: bool, channels: int) -> bool:
    """One pass over a split, kept in ``channels`` or those of its first image. False if a later one has more."""
    kept: list[int] = []
    bad: list[tuple[str, str]] = []
    shape, first = (0, 0, 0), ""
    with (folder / "pixels.u8").open("wb") as file:
        for position, (name, found) in enumerate(images):
            if isinstance(found, str):
                bad.append((name, found))
                if strict:
                    _complain(listing, bad, strict)
                continue
            height, width, own = found.shape
            if not kept:
                shape, first = (height, width, max(own, channels)), name
            if (height, width) != shape[:2]:
                raise ConfigError(
                    f"{listing.name}: images differ in size ({first} is {shape[1]}x{shape[0]}, {name} is "
                    f"{width}x{height}): give the short side in pixels that all are to be stored at",
                    field="data.resize",
                )
            if own > shape[2]:
                return False
            file.write(np.broadcast_to(found, shape).tobytes())
            kept.append(position)
        file.flush()
        os.fsync(file.fileno())
    if not kept:
        name, reason = bad[0]
        raise DataError(f"{listing.name}: no image can be read, the first is {name}: {reason}")
    labels_N = listing.labels_N[kept]
    np.save(folder / "labels.npy", labels_N)
    pixels_NHWC = np.memmap(folder / "pixels.u8", dtype=np.uint8, mode="r", shape=(len(kept), *shape))
    meta = {"shape": pixels_NHWC.shape, "digest": ImageSet.of(pixels_NHWC, labels_N).digest, "bad": bad}
    (folder / "meta.json").write_text(json.dumps(meta))
    return True


def _decode_all(pool: ThreadPoolExecutor, listing: Listing, resize: int | None) -> Iterator[_Decoded]:
    items = listing.items()
    while chunk := list(itertools.islice(items, _CHUNK)):  # so that few encoded images are in memory at once
        yield from pool.map(lambda item: (item[0], _decode(item[1], resize)), chunk)


def _decode(encoded: bytes | Path | None, resize: int | None) -> NDArray[np.uint8] | str:
    """``[H, W, 1]`` for a grey image, else ``[H, W, 3]``; or why it has no pixels."""
    if encoded is None:
        return "missing"
    try:
        opened = io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded
        with warnings.catch_warnings(), Image.open(opened) as file:
            warnings.simplefilter("ignore")  # Pillow on odd but readable metadata
            image: Image.Image = file
            if file.mode.startswith("I;16"):
                image = Image.fromarray((np.asarray(file) >> 8).astype(np.uint8))
            image = image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
        return _stored(image, resize)
    except FileNotFoundError:
        return "missing"
    except Exception as error:  # Pillow's readers raise many kinds on corrupt files
        return f"cannot be decoded ({type(error).__name__}: {(str(error).splitlines() or [''])[0]})"


def _complain(listing: Listing, bad: list[tuple[str, str]], strict: bool) -> None:
    """Bad images are an error, or are named on stderr: never passed over in silence."""
    if strict:
        name, reason = bad[0]
        raise DataError(f"{name}: {reason}; data.on_bad_image: skip leaves such images out")
    shown = "; ".join(f"{name}: {reason}" for name, reason in bad[:_SHOWN])
    more = f"; and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    print(
        f"warning: {listing.name}: {len(bad)} of {len(listing.labels_N)} images skipped: {shown}{more}", file=sys.stderr
    )
