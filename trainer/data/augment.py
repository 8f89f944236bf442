"""Crops, flips and normalisation of whole batches on the device that holds the images.

A crop that is resized to the network's side is two matrices, one for rows and one for columns. Their weights
are those of Pillow's bilinear filter, widened where it shrinks, so that a batch equals what torchvision's
transforms make of the image files, with no loop over images or members. Every draw is a uniform number given
by the caller: equal numbers give equal pixels. Where to cut is worked out for many batches at once.
"""

import functools
import math
from collections.abc import Iterable

import torch
from torch import Tensor

from trainer.data.config import DataConfig
from trainer.data.host_pixels import HostPixels, Pixels, taken

_ATTEMPTS = 10
_SCALE = (0.08, 1.0)
_LOG_RATIO = (math.log(3 / 4), math.log(4 / 3))
STATISTICS = {
    "cifar100": ((0.5071, 0.4866, 0.4409), (0.2009, 0.1984, 0.2023)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar10_image_std": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}


def uniforms_per_image(data: DataConfig) -> int:
    """Uniform numbers that one training image needs."""
    crop = {"resized_crop": 2 * _ATTEMPTS + 2, "random_crop": 2, "none": 0}[data.augment]
    return crop + int(data.flip and data.augment != "none")


def crops(uniforms_MNU: Tensor, height: int, width: int, data: DataConfig) -> Tensor:
    """What is cut from images of ``height`` x ``width``: top, left, rows, columns, mirrored, float32 ``[M, N, 5]``.

    In whole pixels of the padded image; ``mirrored`` is 0 or 1. ``uniforms_MNU``: float32 in [0, 1),
    ``U = uniforms_per_image(data)``; nothing else is drawn. ``[M, N, 0]`` where nothing is augmented.
    """
    if data.augment == "none":
        return uniforms_MNU
    height, width = height + 2 * data.pad, width + 2 * data.pad
    if data.augment == "resized_crop":
        box_MN4 = _resized_boxes(uniforms_MNU, height, width)
    else:
        side_MN = torch.full_like(uniforms_MNU[..., 0], data.crop)
        top_MN, left_MN = _place(uniforms_MNU[..., 0], height, side_MN), _place(uniforms_MNU[..., 1], width, side_MN)
        box_MN4 = top_MN, left_MN, side_MN, side_MN
    mirrored_MN = uniforms_MNU[..., -1] < 0.5 if data.flip else torch.zeros_like(box_MN4[0])
    return torch.stack([*box_MN4, mirrored_MN.to(uniforms_MNU.dtype)], 2)


def augment(pixels_NCHW: Pixels, index_MB: Tensor, crops_MB5: Tensor, data: DataConfig, dtype: torch.dtype) -> Tensor:
    """Training images of M members, ``[B, M*C, crop, crop]`` in channels-last memory, member after member.

    ``pixels_NCHW``: all images, uint8. ``index_MB``: which ones. ``crops_MB5``: see ``crops``.
    """
    if data.augment == "none":
        return centre(pixels_NCHW, index_MB, data, dtype)
    images_NHWC = taken(pixels_NCHW, index_MB.reshape(-1))
    count, height, width, channels = images_NHWC.shape
    top_N, left_N, rows_N, columns_N, mirrored_N = crops_MB5.reshape(count, 5).unbind(1)
    exact = torch.promote_types(dtype, torch.float32)
    down_NYH = resampling(top_N, rows_N, height, data.pad, data.crop, None).to(exact)
    across_NXW = resampling(left_N, columns_N, width, data.pad, data.crop, mirrored_N > 0).to(exact)
    x = torch.bmm(down_NYH, images_NHWC.to(exact).reshape(count, height, width * channels))
    x = x.view(count, data.crop, width, channels).transpose(1, 2).reshape(count, width, data.crop * channels)
    x = torch.bmm(across_NXW, x).view(count, data.crop, data.crop, channels).transpose(1, 2)
    return _normalised(x, index_MB.shape[0], data, dtype)


def centre(pixels_NCHW: Pixels, index: Tensor, data: DataConfig, dtype: torch.dtype) -> Tensor:
    """Evaluation images ``[B]``, or each member's own ``[M, B]``: centre crop, normalised.

    ``[B, M*C, crop, crop]`` in channels-last memory, M = 1 for images ``[B]``.
    """
    height, width = pixels_NCHW.shape[2:]
    members = index.shape[0] if index.dim() == 2 else 1
    # rounded half to even, as torchvision's center_crop
    top, left = round((height - data.crop) / 2), round((width - data.crop) / 2)
    cut = (slice(None), slice(top, top + data.crop), slice(left, left + data.crop))
    if isinstance(pixels_NCHW, HostPixels):
        return _normalised(pixels_NCHW.take(index.reshape(-1))[cut], members, data, dtype)
    return _normalised(pixels_NCHW.permute(0, 2, 3, 1)[cut][index.reshape(-1)], members, data, dtype)


def statistics(name: str, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel, of pixels in [0, 1]; grey images take the mean of the three channels'."""
    mean_3, deviation_3 = STATISTICS[name]
    return ((sum(mean_3) / 3,), (sum(deviation_3) / 3,)) if channels == 1 else (mean_3, deviation_3)


def pixels_again(x_NCHW: Tensor, data: DataConfig) -> Tensor:
    """The uint8 pixels ``[N, H, W, C]`` of images that are normalised, of one member: for people to look at."""
    images_NHWC = x_NCHW.permute(0, 2, 3, 1).float()
    shift_C, scale_C = _shift_and_scale(data.normalise, images_NHWC.shape[3], images_NHWC.device, images_NHWC.dtype)
    return ((images_NHWC - shift_C) / scale_C).round().clamp(0, 255).to(torch.uint8)


def resampling(start_N: Tensor, length_N: Tensor, size: int, pad: int, crop: int, mirror_N: Tensor | None) -> Tensor:
    """Weights ``[N, crop, size]`` of the pixels of one axis in each pixel of the crop.

    The crop ``start .. start + length`` lies in the axis padded with zeros by ``pad`` on both sides; it is resized to
    ``crop`` pixels as Pillow's and torch's antialiased bilinear resize do, then mirrored where ``mirror_N`` says so.
    """
    out_X = torch.arange(crop, device=start_N.device, dtype=torch.float32)
    scale_N = length_N / crop
    out_NX = out_X.expand(len(start_N), -1)
    if mirror_N is not None:
        out_NX = torch.where(mirror_N[:, None], crop - 1 - out_X, out_NX)
    centre_NX = start_N[:, None] + (out_NX + 0.5) * scale_N[:, None]
    pixel_L = torch.arange(size + 2 * pad, device=start_N.device, dtype=torch.float32) + 0.5
    inside_NL = (pixel_L > start_N[:, None]) & (pixel_L < (start_N + length_N)[:, None])
    distance_NXL = (pixel_L - centre_NX[:, :, None]).abs() / scale_N.clamp_min(1)[:, None, None]
    weight_NXL = (1 - distance_NXL).clamp_min(0) * inside_NL[:, None]
    return (weight_NXL / weight_NXL.sum(2, keepdim=True))[:, :, pad : pad + size]


def _resized_boxes(uniforms_MNU: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Top, left, height, width of each crop, whole pixels as float32 ``[M, N]``.

    torchvision's RandomResizedCrop: the first of ten random areas and shapes that fits, else the centre, cut to the
    nearest allowed shape.
    """
    areas_MNJ = height * width * _between(uniforms_MNU[..., :_ATTEMPTS], *_SCALE)
    ratios_MNJ = _between(uniforms_MNU[..., _ATTEMPTS : 2 * _ATTEMPTS], *_LOG_RATIO).exp()
    columns_MNJ = (areas_MNJ * ratios_MNJ).sqrt().round()
    rows_MNJ = (areas_MNJ / ratios_MNJ).sqrt().round()
    fits_MNJ = (columns_MNJ > 0) & (columns_MNJ <= width) & (rows_MNJ > 0) & (rows_MNJ <= height)
    fits_MN = fits_MNJ.any(2)
    first_MN1 = fits_MNJ.to(torch.uint8).argmax(2, keepdim=True)
    narrowest, widest = (math.exp(log) for log in _LOG_RATIO)
    rows, columns = min(height, round(width / narrowest)), min(width, round(height * widest))
    rows_MN = rows_MNJ.gather(2, first_MN1).squeeze(2).where(fits_MN, rows)
    columns_MN = columns_MNJ.gather(2, first_MN1).squeeze(2).where(fits_MN, columns)
    top_MN = _place(uniforms_MNU[..., 2 * _ATTEMPTS], height, rows_MN).where(fits_MN, (height - rows) // 2)
    left_MN = _place(uniforms_MNU[..., 2 * _ATTEMPTS + 1], width, columns_MN).where(fits_MN, (width - columns) // 2)
    return top_MN, left_MN, rows_MN, columns_MN


def _between(uniform: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * uniform


def _place(uniform_MN: Tensor, size: int, length_MN: Tensor) -> Tensor:
    """A whole-pixel start, equally likely wherever ``length_MN`` fits into ``size``."""
    # float32 may round u * (n + 1) up to n + 1
    return (uniform_MN * (size - length_MN + 1)).floor().minimum(size - length_MN)


def _normalised(images_NHWC: Tensor, members: int, data: DataConfig, dtype: torch.dtype) -> Tensor:
    """Normalised, the members side by side: ``[M*B, H, W, C] -> [B, M*C, H, W]``, channels last."""
    exact = torch.promote_types(dtype, torch.float32)
    shift_C, scale_C = _shift_and_scale(data.normalise, images_NHWC.shape[3], images_NHWC.device, exact)
    x = torch.addcmul(shift_C, images_NHWC.to(exact), scale_C).to(dtype)
    x = x.unflatten(0, (members, -1)).permute(1, 2, 3, 0, 4).flatten(3)
    return x.contiguous().permute(0, 3, 1, 2)  # that of one member alone is a view, of rows and columns swapped


@functools.cache
def _shift_and_scale(name: str, channels: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    mean_C, deviation_C = statistics(name, channels)

    def filled(values_C: Iterable[float]) -> Tensor:
        # No step is to copy from the host, not even the first one: it waits until the copy is done.
        return torch.stack([torch.full((), value, device=device, dtype=dtype) for value in values_C])

    shift_C = filled(-mean / deviation for mean, deviation in zip(mean_C, deviation_C, strict=True))
    return shift_C, filled(1 / (255 * deviation) for deviation in deviation_C)
