"""Images of every mode come out as a viewer shows them, or are refused by name."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from support import source_sets
from trainer.data.config import DataConfig
from trainer.data.images import Source
from trainer.data.sources import load
from trainer.errors import ConfigError, DataError, UserError

RAMP = np.arange(256).reshape(16, 16)
"""every 8-bit value once"""


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIL_CACHE", str(tmp_path / "cache"))


def save(folder: Path, images: dict[str, Image.Image | bytes], **options: Any) -> Path:
    """The same images as training and test images of two classes; the names are ``CLASS/FILE``."""
    for split in ("train", "test"):
        for name, image in images.items():
            file = folder / split / name
            file.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(image, bytes):
                file.write_bytes(image)
            else:
                image.save(file, **options)
    return folder


def pair(folder: Path, image: Image.Image | bytes, suffix: str = "png", **options: Any) -> Path:
    return save(folder, {f"{name}/x.{suffix}": image for name in "ab"}, **options)


def config(folder: Path, **fields: Any) -> DataConfig:
    return DataConfig(source="image_folder", path=str(folder), crop=16, **fields)


def read(folder: Path, **fields: Any) -> Source:
    return load(config(folder, **fields))


def pixels(folder: Path, **fields: Any) -> NDArray[np.uint8]:
    """Of the first training image, ``[H, W]`` or ``[H, W, 3]``."""
    return np.asarray(read(folder, **fields).train.pixels_NHWC[0]).squeeze()


def line_of(kind: type[UserError], folder: Path, **fields: Any) -> str:
    return source_sets.line_of(kind, config(folder, **fields))


def png_of_16_bit_colours(values: NDArray[Any]) -> bytes:
    """What Pillow does not write."""
    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


# -- more than 8 bits -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "suffix", "white"),
    [
        pytest.param((RAMP * 257).astype(np.uint16), "png", None, id="16 bits"),
        pytest.param((RAMP * 257).astype(np.int32), "tiff", None, id="mode I"),
        pytest.param((RAMP / 255).astype(np.float32), "tiff", None, id="mode F"),
        pytest.param(np.rint(RAMP * (4095 / 255)).astype(np.uint16), "png", 4095, id="12 bits in 16"),
        pytest.param(np.rint(RAMP * (1023 / 255)).astype(np.int32), "tiff", 1023, id="10 bits in mode I"),
        pytest.param(RAMP.astype(np.float32), "tiff", 255, id="fractions up to 255"),
    ],
)
def test_deep_pixels_are_scaled_or_refused_with_what_to_do(
    tmp_path: Path, values: NDArray[Any], suffix: str, white: int | None
) -> None:
    folder = pair(tmp_path / "set", Image.fromarray(values), suffix)
    if white is not None:
        line = line_of(ConfigError, folder)
        assert line.startswith(f"data.value_range: {folder}/train/a/x.{suffix}: ")
        assert line.endswith(f"such as [0, {white}]")
    assert (pixels(folder, value_range=white and (0, white)) == RAMP).all()


def test_a_dark_image_beside_a_bright_one_is_no_reason_to_refuse(tmp_path: Path) -> None:
    dark, bright = (Image.fromarray((RAMP * factor).astype(np.uint16)) for factor in (16, 257))
    assert (pixels(save(tmp_path / "set", {"a/x.png": dark, "b/x.png": bright})) == np.rint(RAMP * 16 / 257)).all()


def test_values_beyond_a_given_range_are_black_and_white(tmp_path: Path) -> None:
    folder = pair(tmp_path / "set", Image.fromarray((RAMP * 10).astype(np.uint16)))
    found = pixels(folder, value_range=(500, 1000))
    assert (found == np.rint((RAMP * 10.0 - 500).clip(0, 500) / 500 * 255)).all()
    assert {0, 255} <= set(found.ravel().tolist())


def test_fractions_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    values = (RAMP / 255).astype(np.float32)
    values[3, 3] = np.nan
    assert "train/a/x.tiff: cannot be decoded" in line_of(
        DataError, pair(tmp_path / "set", Image.fromarray(values), "tiff")
    )


def test_16_bit_colours(tmp_path: Path) -> None:
    """Pillow keeps their upper bytes."""
    colours = np.stack([RAMP, RAMP.T, RAMP[::-1]], 2)
    assert (pixels(pair(tmp_path / "set", png_of_16_bit_colours(colours * 257))) == colours).all()
    line = line_of(ConfigError, pair(tmp_path / "dark", png_of_16_bit_colours(colours * 16)))
    assert "save the images with 8 bits a channel" in line


def test_a_range_rises(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="black must be below white"):
        DataConfig(value_range=(5, 5))


# -- alpha ----------------------------------------------------------------------------------------------


def half_transparent(mode: str) -> Image.Image:
    """Upper half: opaque black; lower half: transparent, with a colour hidden below."""
    image = Image.new("RGBA", (16, 16), (0, 0, 0, 255))
    image.paste((40, 200, 40, 0), (0, 8, 16, 16))
    return image if mode == "RGBA" else image.convert(mode)


@pytest.mark.parametrize(("background", "level"), [(None, 255), ("white", 255), ("grey", 128), ("black", 0)])
@pytest.mark.parametrize(("mode", "suffix"), [("RGBA", "png"), ("LA", "png"), ("RGBA", "webp"), ("PA", "tiff")])
def test_what_is_hidden_below_alpha_is_never_seen(
    tmp_path: Path, mode: str, suffix: str, background: str | None, level: int
) -> None:
    options = {"lossless": True} if suffix == "webp" else {}
    image = half_transparent(mode)
    if mode == "PA":
        image, suffix = half_transparent("RGBA").quantize(4, method=Image.Quantize.FASTOCTREE), "png"
    found = pixels(
        pair(tmp_path / "set", image, suffix, **options), **({"background": background} if background else {})
    )
    assert found.ndim == (2 if mode == "LA" else 3)
    assert (found[:8] == 0).all()
    assert (found[8:] == level).all()


@pytest.mark.parametrize(("mode", "key"), [("L", 40), ("RGB", (40, 200, 40)), ("P", 1)])
def test_a_colour_declared_transparent_is_transparent(tmp_path: Path, mode: str, key: Any) -> None:
    image = Image.new("L" if mode == "L" else "RGB", (16, 16))
    image.paste(40 if mode == "L" else (40, 200, 40), (0, 8, 16, 16))
    if mode == "P":
        image = image.quantize(2)
        key = image.getpixel((0, 15))
    found = pixels(pair(tmp_path / "set", image, transparency=key), background="grey")
    assert (found[:8] == 0).all()
    assert (found[8:] == 128).all()


def test_half_of_an_opacity_is_half_of_the_background(tmp_path: Path) -> None:
    found = pixels(pair(tmp_path / "set", Image.new("RGBA", (16, 16), (0, 0, 0, 128))))
    assert np.abs(found.astype(int) - 127).max() <= 1


# -- orientation, other modes -----------------------------------------------------------------------------

ORIENTATIONS = [
    None,
    Image.Transpose.FLIP_LEFT_RIGHT,
    Image.Transpose.ROTATE_180,
    Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_90,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_270,
]
"""how a camera that is held so turns what it writes, by EXIF's number from 1"""


@pytest.mark.parametrize("number", range(1, 9))
def test_photographs_are_turned_upright(tmp_path: Path, number: int) -> None:
    upright = Image.fromarray(np.stack([RAMP, RAMP // 2, 255 - RAMP], 2).astype(np.uint8)).resize((24, 16))
    method = ORIENTATIONS[number - 1]
    turned = upright if method is None else upright.transpose(method)
    exif = Image.Exif()
    exif[0x0112] = number
    assert (pixels(pair(tmp_path / "set", turned, exif=exif)) == np.asarray(upright)).all()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_leaves_the_pixels(tmp_path: Path) -> None:
    image = Image.fromarray(RAMP.astype(np.uint8))
    folder = pair(tmp_path / "set", image, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
    assert (pixels(folder) == RAMP).all()


@pytest.mark.parametrize(("mode", "suffix"), [("CMYK", "tiff"), ("CMYK", "jpg"), ("YCbCr", "jpg"), ("1", "png")])
def test_other_modes_are_pillows_own_conversion(tmp_path: Path, mode: str, suffix: str) -> None:
    image = Image.fromarray(np.stack([RAMP, RAMP.T, 255 - RAMP], 2).astype(np.uint8)).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, {"jpg": "JPEG"}.get(suffix, suffix.upper()))
    expected = Image.open(io.BytesIO(buffer.getvalue())).convert("L" if mode == "1" else "RGB")
    assert (pixels(pair(tmp_path / "set", buffer.getvalue(), suffix)) == np.asarray(expected)).all()


def test_grey_training_images_beside_colour_test_images(tmp_path: Path) -> None:
    folder = pair(tmp_path / "set", Image.fromarray(RAMP.astype(np.uint8)))
    grey = read(folder)
    Image.new("RGB", (16, 16), (200, 0, 0)).save(folder / "test" / "a" / "x.png")
    source = read(folder)
    assert source.train.pixels_NHWC.shape == source.test.pixels_NHWC.shape == (2, 16, 16, 3)
    assert (source.train.pixels_NHWC[0] == RAMP[..., None]).all()
    assert source.test.pixels_NHWC[0, 0, 0].tolist() == [200, 0, 0]
    assert source.fingerprint != grey.fingerprint


# -- bad files ------------------------------------------------------------------------------------------


def test_all_bad_files_of_both_splits_are_named_at_once(tmp_path: Path) -> None:
    good = Image.fromarray(RAMP.astype(np.uint8))
    folder = save(tmp_path / "set", {f"{name}/{i:02d}.png": good for name in "ab" for i in range(10)})
    bad = [folder / split / "a" / f"{i:02d}.png" for split in ("train", "test") for i in range(1, 8)]
    for file in bad:
        file.write_bytes(b"no image")
    line = line_of(DataError, folder)
    assert line.startswith("14 of 40 images cannot be read: ")
    assert [str(file) in line for file in bad] == [True] * 10 + [False] * 4
    assert "; and 4 more; " in line
    assert len(read(folder, on_bad_image="skip").train.labels_N) == 13
