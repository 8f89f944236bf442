"""Batched augmentation against torch's and Pillow's own resampling, one image at a time."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from trainer.data.augment import augment, centre, crops, uniforms_per_image
from trainer.data.config import DataConfig
from trainer.rng import stream

PLAIN = {"normalise": "half", "flip": False}


def pictures(count: int, channels: int, height: int, width: int) -> Tensor:
    """uint8 ``[N, C, H, W]``, channels last like those of a TaskStream."""
    shape = (count, height, width, channels)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=stream(0, "pictures")).permute(0, 3, 1, 2)


def grey_levels(images: Tensor) -> Tensor:
    """Undo ``normalise: half``."""
    return (images.double() * 0.5 + 0.5) * 255


def uniforms(members: int, batch: int, data: DataConfig, seed: int = 0) -> Tensor:
    return torch.rand(members, batch, uniforms_per_image(data), generator=stream(seed, "uniforms"))


def augmented(images: Tensor, index_MB: Tensor, u: Tensor, data: DataConfig, dtype: torch.dtype) -> Tensor:
    height, width = images.shape[2:]
    return augment(images, index_MB, crops(u, height, width, data), data, dtype)


def box_by_the_book(u: np.ndarray, height: int, width: int) -> tuple[int, int, int, int]:
    """torchvision's RandomResizedCrop.get_params, its draws taken from ``u``: top, left, height, width."""
    for attempt in range(10):
        area = height * width * (0.08 + 0.92 * float(u[attempt]))
        ratio = math.exp(math.log(3 / 4) + (math.log(4 / 3) - math.log(3 / 4)) * float(u[10 + attempt]))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(float(u[20]) * (height - h + 1)), int(float(u[21]) * (width - w + 1)), h, w
    if width / height < 3 / 4:
        w, h = width, round(width / (3 / 4))
    elif width / height > 4 / 3:
        w, h = round(height * (4 / 3)), height
    else:
        w, h = width, height
    return (height - h) // 2, (width - w) // 2, h, w


@pytest.mark.parametrize(
    ("height", "width", "crop", "pad"),
    [(32, 32, 32, 4), (8, 8, 8, 1), (48, 48, 32, 0), (30, 90, 24, 2), (90, 30, 24, 0)],
)
def test_resized_crop_equals_crop_then_resize(height: int, width: int, crop: int, pad: int) -> None:
    data = DataConfig(augment="resized_crop", crop=crop, pad=pad, **PLAIN)
    images = pictures(5, 3, height, width)
    index, u = torch.arange(40).reshape(2, 20) % 5, uniforms(2, 20, data)
    found = grey_levels(augmented(images, index, u, data, torch.float64))
    padded = F.pad(images.double(), [pad] * 4)
    for m in range(2):
        for b in range(20):
            top, left, h, w = box_by_the_book(u[m, b].numpy(), height + 2 * pad, width + 2 * pad)
            part = padded[index[m, b], :, top : top + h, left : left + w]
            expected = F.interpolate(part[None], (crop, crop), mode="bilinear", antialias=True)[0]
            assert torch.allclose(found[b, 3 * m : 3 * m + 3], expected, atol=2e-3)


def test_where_nothing_shrinks_it_is_plain_bilinear_too() -> None:
    data = DataConfig(augment="resized_crop", crop=48, pad=2, **PLAIN)
    images, index = pictures(4, 3, 32, 32), torch.arange(12)[None] % 4
    u = uniforms(1, 12, data)
    found = grey_levels(augmented(images, index, u, data, torch.float64))
    padded = F.pad(images.double(), [2] * 4)
    for b in range(12):
        top, left, h, w = box_by_the_book(u[0, b].numpy(), 36, 36)
        part = padded[index[0, b], :, top : top + h, left : left + w]
        expected = F.interpolate(part[None], (48, 48), mode="bilinear", align_corners=False)[0]
        assert torch.allclose(found[b], expected, atol=2e-3)


def test_equals_pillow_but_for_its_rounding() -> None:
    data = DataConfig(augment="resized_crop", crop=32, pad=4, **PLAIN)
    images, index = pictures(4, 3, 32, 32), torch.arange(16)[None] % 4
    u = uniforms(1, 16, data, seed=1)
    found = grey_levels(augmented(images, index, u, data, torch.float32))
    for b in range(16):
        top, left, h, w = box_by_the_book(u[0, b].numpy(), 40, 40)
        padded = F.pad(images[index[0, b]], [4] * 4).permute(1, 2, 0).numpy()
        part = Image.fromarray(padded[top : top + h, left : left + w])
        expected = np.asarray(part.resize((32, 32), Image.Resampling.BILINEAR), dtype=np.float64)
        assert abs(found[b].permute(1, 2, 0).numpy() - expected).max() <= 1.01


def test_ten_attempts_that_do_not_fit_give_the_centre() -> None:
    data = DataConfig(augment="resized_crop", crop=24, pad=0, **PLAIN)
    images = pictures(1, 1, 30, 90)
    u = torch.full((1, 1, uniforms_per_image(data)), 0.99)
    assert box_by_the_book(u[0, 0].numpy(), 30, 90) == (0, 25, 30, 40)
    found = grey_levels(augmented(images, torch.zeros(1, 1, dtype=torch.int64), u, data, torch.float64))
    expected = F.interpolate(images[:, :, :, 25:65].double(), (24, 24), mode="bilinear", antialias=True)
    assert torch.allclose(found, expected, atol=1e-3)


def test_random_crop_moves_whole_pixels() -> None:
    data = DataConfig(augment="random_crop", crop=32, pad=4, **PLAIN)
    images, index = pictures(3, 3, 32, 32), torch.arange(30)[None] % 3
    u = uniforms(1, 30, data)
    found = grey_levels(augmented(images, index, u, data, torch.float32)).round()
    padded = F.pad(images, [4] * 4)
    for b in range(30):
        top, left = int(float(u[0, b, 0]) * 9), int(float(u[0, b, 1]) * 9)
        assert torch.equal(found[b], padded[index[0, b], :, top : top + 32, left : left + 32].double())


@pytest.mark.parametrize("kind", ["resized_crop", "random_crop"])
def test_flip_mirrors_where_its_draw_says_so(kind: str) -> None:
    data = DataConfig(augment=kind, crop=32, normalise="half")
    images, index = pictures(2, 3, 32, 32), torch.tensor([[0, 1]])
    u = uniforms(1, 2, data)
    u[:, :, -1] = 0.9
    plain = augmented(images, index, u, data, torch.float32)
    u[:, 0, -1] = 0.1
    mixed = augmented(images, index, u, data, torch.float32)
    assert torch.allclose(mixed[0], plain[0].flip(2), atol=1e-6)
    assert torch.equal(mixed[1], plain[1])


def test_none_is_the_centre() -> None:
    data = DataConfig(augment="none", crop=24)
    images, index = pictures(4, 3, 32, 32), torch.tensor([[0, 1], [3, 2]])
    assert uniforms_per_image(data) == 0
    found = augmented(images, index, torch.zeros(2, 2, 0), data, torch.float32)
    for m in range(2):
        assert torch.equal(found[:, 3 * m : 3 * m + 3], centre(images, index[m], data, torch.float32))


def test_centre_normalises_by_channel() -> None:
    images = pictures(4, 3, 32, 32)
    found = centre(images, torch.tensor([2, 0]), DataConfig(crop=30), torch.float64)
    mean, deviation = torch.tensor([0.5071, 0.4866, 0.4409]), torch.tensor([0.2009, 0.1984, 0.2023])
    part = images[[2, 0], :, 1:31, 1:31].double() / 255
    assert torch.allclose(found, (part - mean.double()[:, None, None]) / deviation.double()[:, None, None], atol=1e-6)
    grey = centre(images[:, :1], torch.tensor([1]), DataConfig(crop=32), torch.float64)
    assert torch.allclose(grey, (images[1:2, :1].double() / 255 - mean.mean()) / deviation.mean(), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize(("members", "channels"), [(1, 3), (3, 1), (2, 3)])
def test_shape_type_and_memory(dtype: torch.dtype, members: int, channels: int) -> None:
    data = DataConfig(crop=16, pad=2)
    images = pictures(6, channels, 20, 20)
    found = augmented(images, torch.zeros(members, 5, dtype=torch.int64), uniforms(members, 5, data), data, dtype)
    assert found.shape == (5, members * channels, 16, 16)
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=torch.channels_last)
    found = centre(images, torch.zeros(5, dtype=torch.int64), data, dtype)
    assert found.shape == (5, channels, 16, 16)
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_equal_draws_give_equal_pixels_beside_any_others() -> None:
    data = DataConfig()
    images, index = pictures(9, 3, 32, 32), torch.arange(18).reshape(2, 9) % 9
    u = uniforms(2, 9, data)
    pair = augmented(images, index, u, data, torch.float32)
    again = augmented(images, index[[1, 0, 1]], u[[1, 0, 1]], data, torch.float32)
    assert torch.equal(again[:, :3], again[:, 6:])
    assert torch.equal(again[:, 3:6], pair[:, :3])
    assert torch.equal(augmented(images, index[:1], u[:1], data, torch.float32), pair[:, :3])


@settings(max_examples=60, deadline=None)
@given(
    fields=st.fixed_dictionaries(
        {
            "augment": st.sampled_from(["resized_crop", "random_crop", "none"]),
            "crop": st.integers(4, 12),
            "pad": st.integers(0, 5),
            "flip": st.booleans(),
        }
    ),
    extra=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    uniform=st.sampled_from([0.0, 0.5, 1 - 2**-24]) | st.floats(0, 1, exclude_max=True, width=32),
)
def test_any_draw_stays_within_the_pixels_range(fields: dict[str, Any], extra: tuple[int, int], uniform: float) -> None:
    data = DataConfig(normalise="half", **fields)
    images = pictures(2, 3, data.crop + extra[0], data.crop + extra[1])
    u = torch.full((1, 2, uniforms_per_image(data)), min(uniform, 1 - 2**-24))
    found = augmented(images, torch.tensor([[0, 1]]), u, data, torch.float32)
    assert found.abs().max() <= 1 + 1e-5
