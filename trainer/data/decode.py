"""Image files to one uint8 array, once: decoded by all cores, kept in the cache, memory-mapped ever after."""

import functools
import hashlib
import io
import itertools
import json
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from trainer.data import cache
from trainer.data.config import DataConfig
from trainer.data.file_types import open_heic
from trainer.data.images import Encoded, ImageSet, Labels, PixelDigest, Source, content, contents, first_ten
from trainer.data.pixels import Depth, check_depth, eight_bit
from trainer.data.progress import counted
from trainer.errors import ConfigError, DataError

FORMAT = 6
"""version of the cache entries; raise it when decoding changes"""
_CHUNK = 256

_Bad = tuple[str, str]
"""name of an image, and why it has no pixels"""

Item = tuple[str, bytes | Path | None]
"""name for messages, and where the encoded image is; None where it is missing"""


class _Decoded(NamedTuple):
    name: str
    found: NDArray[np.uint8] | str
    """``[H, W, C]``, or why there is none"""
    depth: Depth | None = None
    content: int = 0
    """hash of its pixels before they were resized"""
    size: tuple[int, int] = (0, 0)
    """width and height, upright, before it was resized"""
    mode: str = ""
    """Pillow's, of the file"""
    format: str = ""
    """Pillow's, of the file"""
    turned: bool = False
    """whether its EXIF orientation was another than upright"""


class BadImages(DataError):
    """Images that cannot be read: the first ten are named, and the others counted."""

    def __init__(self, bad: Sequence[tuple[str, str]], images: int) -> None:
        super().__init__(bad, images)
        self.bad, self.images = bad, images

    def __str__(self) -> str:
        count = "" if len(self.bad) == 1 else f"{len(self.bad)} of {self.images} images cannot be read: "
        skip = "" if len(self.bad) == self.images else "; data.on_bad_image: skip leaves such images out"
        return f"{count}{named(self.bad)}{skip}"


@dataclass(frozen=True)
class Listing:
    """A split before it is decoded."""

    name: str
    labels_N: Labels
    items: Callable[[], Iterator[Item]]
    """the images in the order of the labels; may be walked more than once"""
    content: str
    """hash of names, labels and encoded bytes"""

    @property
    def home(self) -> str:
        """The folder or file that the names of its images begin with."""
        return self.name.rpartition(" (")[0]


def decoded_source(
    listings: Mapping[str, Listing],
    class_names: Sequence[str],
    config: DataConfig,
    resize: int | None,
    said: tuple[str, ...] = (),
) -> Source:
    """``decoded`` for each split, by its name; images of any that cannot be read are named together.

    ``said``: lines about what is there and is not read; they begin with ``NOTE`` or ``WARNING``.
    """
    found: dict[str, ImageSet] = {}
    bad: list[BadImages] = []
    for split, listing in listings.items():
        try:
            found[split] = decoded(listing, config, resize)
        except BadImages as error:
            bad.append(error)
    if bad:
        for line in said:  # all at once: the next launch would name them
            print(line, file=sys.stderr)
        images = sum(len(listing.labels_N) for listing in listings.values())
        raise BadImages([one for error in bad for one in error.bad], images)
    return Source.of_splits(found, class_names, said)


def decoded(listing: Listing, config: DataConfig, resize: int | None) -> ImageSet:
    """The split's images, from the cache if they were decoded before.

    ``resize``: short side in pixels; the centre square of that side is kept. None: as they are, all of one size.
    Raises BadImages (unless they are to be skipped), and ConfigError for images of several sizes or for values that do
    not fit ``data.value_range``.
    """
    if not len(listing.labels_N):
        raise DataError(f"{listing.name}: no images")
    options = json.dumps([FORMAT, PIL.__version__, listing.content, resize, config.background, config.value_range])
    key = hashlib.sha256(options.encode()).hexdigest()[:32]
    folder = cache.entry(key, lambda folder: _write(folder, listing, resize, config))
    try:
        meta = json.loads((folder / "meta.json").read_text())
        pixels_NHWC = np.memmap(folder / "pixels.u8", dtype=np.uint8, mode="r", shape=tuple(meta["shape"]))
        labels_N, content_N, kept_N, size_N2 = (
            np.load(folder / f"{name}.npy") for name in ("labels", "content", "kept", "size")
        )
        bad = tuple((_moved(name, meta["home"], listing.home), str(reason)) for name, reason in meta["bad"])
        names = functools.cache(functools.partial(_names, listing, kept_N))
        files = Encoded(listing.name, size_N2, meta["modes"], meta["formats"], meta["turned"], names, bad)
        images = ImageSet(pixels_NHWC, labels_N, meta["digest"], content_N, files)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"the image cache entry {folder} is damaged ({error}); delete that folder") from error
    if bad and config.on_bad_image == "error":
        raise BadImages(bad, len(listing.labels_N))
    return images


def decode_files(paths: Iterable[Path], config: DataConfig) -> Iterator[tuple[str, NDArray[np.uint8] | str]]:
    """Image files in their order, decoded as a data set's, past the cache: ``[H, W, C]``, or why there is none.

    They are stored at ``config.stored_side``; C is 1 for a grey image, else 3. Values of more than 8 bits are scaled as
    ``config.value_range`` says, and are not checked against it: that takes a whole data set.
    """
    open_heic()
    decode = functools.partial(_decode, resize=config.stored_side, config=config)
    with ThreadPoolExecutor(cores()) as pool:
        for image in _decode_all(pool, ((str(path), path) for path in paths), decode):
            yield image.name, image.found


def _moved(name: str, before: str, now: str) -> str:
    """The name of an image that may have been decoded where the data set lay before."""
    return now + name.removeprefix(before) if name.startswith(before) else name


def _names(listing: Listing, kept_N: NDArray[np.int64]) -> list[str]:
    names = [name for name, _ in listing.items()]
    return [names[position] for position in kept_N.tolist()]


def image_set(pixels_NHWC: NDArray[np.uint8], labels_N: Labels, resize: int | None) -> ImageSet:
    """Images that came decoded, as ``decoded`` would give them: resized, and known by what they were before."""
    if resize is None:
        return ImageSet.of(pixels_NHWC, labels_N)
    images = pixels_NHWC[..., 0] if pixels_NHWC.shape[3] == 1 else pixels_NHWC
    stored_NHWC = np.stack([_stored(Image.fromarray(image), resize) for image in images])
    return ImageSet.of(stored_NHWC, labels_N, contents(pixels_NHWC))


def named(bad: Sequence[_Bad]) -> str:
    """The first ten images that cannot be read, each with the reason, and how many more there are."""
    return first_ten((f"{name}: {reason}" for name, reason in bad), "; ")


def cores() -> int:
    """That this process may use: macOS and Windows do not say, and their machine's are taken."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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


def _write(folder: Path, listing: Listing, resize: int | None, config: DataConfig) -> None:
    """Fill a cache entry: with one channel if no image has colour, else with three."""
    open_heic()
    decode = functools.partial(_decode, resize=resize, config=config)
    with ThreadPoolExecutor(cores()) as pool:
        for channels in (1, 3):
            with counted(_decode_all(pool, listing.items(), decode), listing.name, len(listing.labels_N)) as images:
                if _fill(folder, listing, images, config, channels):
                    return


def _fill(folder: Path, listing: Listing, images: Iterator[_Decoded], config: DataConfig, channels: int) -> bool:
    """One pass over a split, kept in ``channels`` or those of its first image. False if a later one has more."""
    kept: list[int] = []
    contents: list[int] = []
    sizes: list[tuple[int, int]] = []
    modes, formats, turned = Counter[str](), Counter[str](), 0
    bad: list[_Bad] = []
    depths: dict[str, Depth] = {}
    shape, first = (0, 0, 0), ""
    digest = PixelDigest(shape)
    with (folder / "pixels.u8").open("wb") as file:
        for position, image in enumerate(images):
            name, found, depth = image.name, image.found, image.depth
            if isinstance(found, str):
                bad.append((name, found))
                continue
            if depth is not None:
                depths[depth.mode] = depth.over(depths.get(depth.mode))
            height, width, own = found.shape
            if not kept:
                shape, first = (height, width, max(own, channels)), name
                digest = PixelDigest(shape)
            if (height, width) != shape[:2]:
                raise ConfigError(
                    f"{listing.name}: images differ in size ({first} is {shape[1]}x{shape[0]}, {name} is "
                    f"{width}x{height}): give the short side in pixels that all are to be stored at",
                    field="data.resize",
                )
            if own > shape[2]:
                return False
            pixels = np.broadcast_to(found, shape).tobytes()
            file.write(pixels)
            digest.update(pixels)
            kept.append(position)
            contents.append(image.content)
            sizes.append(image.size)
            modes[image.mode] += 1
            formats[image.format] += 1
            turned += image.turned
        file.flush()
        os.fsync(file.fileno())
    if bad and config.on_bad_image == "error":
        raise BadImages(bad, len(listing.labels_N))
    if not kept:
        raise DataError(f"{listing.name}: no image can be read: {named(bad)}")
    for depth in depths.values():
        check_depth(depth, config)
    labels_N, content_N = listing.labels_N[kept], np.array(contents, dtype=np.uint64)
    np.save(folder / "labels.npy", labels_N)
    np.save(folder / "content.npy", content_N)
    np.save(folder / "kept.npy", np.array(kept, dtype=np.int64))
    np.save(folder / "size.npy", np.array(sizes, dtype=np.int64))
    meta = {
        "shape": (len(kept), *shape),
        "digest": digest.with_labels(labels_N),
        "bad": bad,
        "home": listing.home,
        "modes": modes,
        "formats": formats,
        "turned": turned,
    }
    (folder / "meta.json").write_text(json.dumps(meta))
    return True


def _decode_all(
    pool: ThreadPoolExecutor, items: Iterator[Item], decode: Callable[[str, bytes | Path | None], _Decoded]
) -> Iterator[_Decoded]:
    while chunk := list(itertools.islice(items, _CHUNK)):  # so that few encoded images are in memory at once
        yield from pool.map(lambda item: decode(*item), chunk)


def _decode(name: str, encoded: bytes | Path | None, resize: int | None, config: DataConfig) -> _Decoded:
    """``[H, W, 1]`` for a grey image, else ``[H, W, 3]``; or why it has no pixels."""
    if encoded is None:
        return _Decoded(name, "missing")
    try:
        opened = io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded
        with warnings.catch_warnings(), Image.open(opened) as file:
            warnings.simplefilter("ignore")  # Pillow on odd but readable metadata
            mode, form = file.mode, file.format or ""
            image, depth, turned = eight_bit(file, name, config)
        hashed = content(np.atleast_3d(np.asarray(image)))
        return _Decoded(name, _stored(image, resize), depth, hashed, image.size, mode, form, turned)
    except FileNotFoundError:
        return _Decoded(name, "missing")
    except UnidentifiedImageError:
        return _Decoded(name, "cannot be decoded (not an image that Pillow reads)")
    except Exception as error:  # Pillow's readers raise many kinds on corrupt files
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        return _Decoded(name, f"cannot be decoded ({reason})")
