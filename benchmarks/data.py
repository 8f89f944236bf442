"""Images on their way to the network: crops of whole batches or of one image at a time, and decoding on all cores.

``python -m benchmarks.data`` reads the folder $IMAGENET32_100. Crops are torchvision's random resized crop and flip, of
decoded images on both sides; for crops of 224 pixels, the images are stored at 256.
"""

import importlib
import io
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import torch
from PIL import Image

from benchmarks import timing
from trainer.command import at_least
from trainer.config.files import load_run
from trainer.data import decode
from trainer.data.augment import STATISTICS, augment, crops, uniforms_per_image
from trainer.data.config import DataConfig
from trainer.data.images import ImageSet
from trainer.data.sources import load
from trainer.data.torchvision_datasets import datasets
from trainer.errors import exit_code
from trainer.results.provenance import device_name
from trainer.training.options import DeviceOptions

TOGETHER, ONE_BY_ONE = "a batch together", "torchvision, one by one"
IMAGES = 500
PHOTO = (500, 375)
SIZES = {"32 pixels": {}, "224 pixels": {"resize": 256, "crop": 224, "pad": 0}}


def main(argv: Sequence[str] | None = None) -> int:
    parser = timing.parser("data", "Crops of whole batches, and decoding by all cores.", run_file=False)
    parser.add_argument(
        "--run", default="runs/imagenet32_lt_lfs10.yaml", help="run file that names the images (default: %(default)s)"
    )
    parser.add_argument("--batch", type=at_least(1), default=128)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args(argv)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = DeviceOptions(device=arguments.device).resolve_device()
    data = load_run(arguments.run).config.data
    rows, content = [], {}
    for size, changes in SIZES.items():
        crops = _Crops(data, data.model_copy(update=changes), arguments.batch, device)
        found = timing.alternate({TOGETHER: crops.together, ONE_BY_ONE: crops.one_by_one}, arguments.rounds)
        rows += _rows(f"crops, {size}", found, TOGETHER, arguments.batch)
        content[size] = found
    cores = decode.cores()
    test = load(data).test
    for size, resize in (None, None), (PHOTO, 256):
        listing = _jpegs(test, size)
        sides: dict[str, Callable[[], None]] = {
            f"cores: {n}": lambda n=n, listing=listing, resize=resize: _decode(listing, data, resize, n)
            for n in sorted({1, cores})
        }
        found = timing.alternate(sides, arguments.rounds)
        what = "decoding, as they are" if size is None else f"decoding, {size[0]} x {size[1]} to {resize}"
        rows += _rows(what, found, f"cores: {cores}", len(listing.labels_N))
        content[what] = found
    about = (
        f"Images of {arguments.run}; crops in batches of {arguments.batch} on {device_name(device)} with "
        f"{torch.get_num_threads()} threads, torchvision's on one core of the CPU; decoded into the cache are "
        f"{IMAGES} JPEG files made of them. {arguments.rounds} rounds, sides in turn, median (least to most). "
        f"Stored at 256 pixels, 1,000 images take {1000 * 3 * 256 * 256 / 2**20:.0f} MiB of the device."
    )
    headers = ("what", "how", "us an image", "times the first side")
    timing.publish(arguments.name, [about], headers, rows, {"seconds": content})
    return 0


def _rows(what: str, found: timing.Seconds, first: str, images: int) -> list[list[str]]:
    return [
        [
            what,
            name,
            timing.median_and_range([s * 1e6 / images for s in seconds]),
            timing.median_and_range(timing.ratios(found, name, first)),
        ]
        for name, seconds in found.items()
    ]


class _Crops:
    """Training crops of one batch, both ways."""

    def __init__(self, files: DataConfig, data: DataConfig, batch: int, device: torch.device) -> None:
        images = decode.resized(load(files).test.pixels_NHWC[:batch], data.resize)
        self.data, self.batch = data, batch
        self.pixels_NCHW = torch.from_numpy(images.copy()).permute(0, 3, 1, 2).to(device)
        self.index_MB = torch.arange(batch, device=device)[None]
        self.pictures = [Image.fromarray(image) for image in images]
        self.transform = _torchvision(data)

    def together(self) -> None:
        uniforms_MBU = torch.rand(1, self.batch, uniforms_per_image(self.data), device=self.pixels_NCHW.device)
        crops_MB5 = crops(uniforms_MBU, *self.pixels_NCHW.shape[2:], self.data)
        augment(self.pixels_NCHW, self.index_MB, crops_MB5, self.data, torch.float32)

    def one_by_one(self) -> None:
        torch.stack([self.transform(picture) for picture in self.pictures])


def _torchvision(data: DataConfig) -> Any:
    datasets()  # lets torchvision be imported beside a torch that it was not built for
    transforms = importlib.import_module("torchvision.transforms")
    mean, deviation = STATISTICS[data.normalise]
    crop = [transforms.Pad(data.pad), transforms.RandomResizedCrop(data.crop), transforms.RandomHorizontalFlip()]
    return transforms.Compose([*crop, transforms.ToTensor(), transforms.Normalize(mean, deviation)])


def _jpegs(images: ImageSet, size: tuple[int, int] | None) -> decode.Listing:
    """Some images as JPEG files in memory, enlarged to a photograph's size if one is given."""
    items: list[decode.Item] = []
    for number, pixels in enumerate(images.pixels_NHWC[:IMAGES]):
        picture, file = Image.fromarray(pixels), io.BytesIO()
        (picture if size is None else picture.resize(size)).save(file, "JPEG")
        items.append((str(number), file.getvalue()))
    return decode.Listing("images", images.labels_N[:IMAGES], lambda: iter(items), content="in memory")


def _decode(listing: decode.Listing, data: DataConfig, resize: int | None, cores: int) -> None:
    """Build the cache entry from nothing."""
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.dict(os.environ, {"CIL_CACHE": folder}),
        mock.patch.object(decode, "cores", return_value=cores),
    ):
        decode.decoded(listing, data, resize)


if __name__ == "__main__":
    sys.exit(exit_code(main))
