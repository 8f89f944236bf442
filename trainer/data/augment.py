"""Crops, flips and normalisation of whole batches on the device that holds the images.

A crop that is resized to the network's side is two matrices, one for rows and one for columns. Their weights
are those of Pillow's bilinear filter, widened where it shrinks, so that a batch equals what torchvision's
transforms make of the image files, with no loop over images or members. Every draw is a uniform number given
by the caller: equal numbers give equal pixels. Where to cut is worked out for many batches at once.
"""

import functools
import math

import torch
from torch import Tensor

from trainer.data.config import DataConfig

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
    boxes = _resized_boxes if data.augment == "resized_crop" else _plain_boxes
    found_MN4 = boxes(uniforms_MNU, height + 2 * data.pad, width + 2 * data.pad, data.crop)
    mirrored_MN = uniforms_MNU[..., -1] < 0.5 if data.flip else torch.zeros_like(found_MN4[0])
    return torch.stack([*found_MN4, mirrored_MN.to(uniforms_MNU.dtype)], 2)


def augment(pixels_NCHW: Tensor, index_MB: Tensor, crops_MB5: Tensor, data: DataConfig, dtype: torch.dtype) -> Tensor:
    """Training images of M members, ``[B, M*C, crop, crop]`` in channels-last memory, member after member.

    ``pixels_NCHW``: all images, uint8. ``index_MB``: which ones. ``crops_MB5``: see ``crops``.
    """
    members = index_MB.shape[0]
    index_N = index_MB.reshape(-1)
    if data.augment == "none":
        return _to_members(_normalised(_centre_crop(pixels_NCHW, index_N, data.crop), data, dtype), members)
    images_NHWC = pixels_NCHW.permute(0, 2, 3, 1)[index_N]
    count, height, width, channels = images_NHWC.shape
    top_N, left_N, rows_N, columns_N, mirrored_N = crops_MB5.reshape(count, 5).unbind(1)
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    down_NYH = resampling(top_N, rows_N, height, data.pad, data.crop, None).to(exact)
    across_NXW = resampling(left_N, columns_N, width, data.pad, data.crop, mirrored_N > 0).to(exact)
    x = torch.bmm(down_NYH, images_NHWC.to(exact).reshape(count, height, width * channels))
    x = x.view(count, data.crop, width, channels).transpose(1, 2).reshape(count, width, data.crop * channels)
    x = torch.bmm(across_NXW, x).view(count, data.crop, data.crop, channels).transpose(1, 2)
    return _to_members(_normalised(x, data, dtype), members)


def centre(pixels_NCHW: Tensor, index_B: Tensor, data: DataConfig, dtype: torch.dtype) -> Tensor:
    """Evaluation images: centre crop, normalised, ``[B, C, crop, crop]`` in channels-last memory."""
    return _to_members(_normalised(_centre_crop(pixels_NCHW, index_B, data.crop), data, dtype), 1)


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


Boxes = tuple[Tensor, Tensor, Tensor, Tensor]
"""top, left, height, width of each crop, whole pixels as float32 ``[M, N]``"""


def _plain_boxes(uniforms_MNU: Tensor, height: int, width: int, crop: int) -> Boxes:
    side_MN = torch.full_like(uniforms_MNU[..., 0], crop)
    top_MN, left_MN = _place(uniforms_MNU[..., 0], height, side_MN), _place(uniforms_MNU[..., 1], width, side_MN)
    return top_MN, left_MN, side_MN, side_MN


def _resized_boxes(uniforms_MNU: Tensor, height: int, width: int, crop: int) -> Boxes:
    """torchvision's RandomResizedCrop: the first of ten random areas and shapes that fits, else the centre."""
    areas_MNJ = height * width * _between(uniforms_MNU[..., :_ATTEMPTS], *_SCALE)
    ratios_MNJ = _between(uniforms_MNU[..., _ATTEMPTS : 2 * _ATTEMPTS], *_LOG_RATIO).exp()
    columns_MNJ = (areas_MNJ * ratios_MNJ).sqrt().round()
    rows_MNJ = (areas_MNJ / ratios_MNJ).sqrt().round()
    fits_MNJ = (columns_MNJ > 0) & (columns_MNJ <= width) & (rows_MNJ > 0) & (rows_MNJ <= height)
    fits_MN = fits_MNJ.any(2)
    first_MN1 = fits_MNJ.to(torch.uint8).argmax(2, keepdim=True)
    rows, columns = _fallback(height, width)
    rows_MN = rows_MNJ.gather(2, first_MN1).squeeze(2).where(fits_MN, rows)
    columns_MN = columns_MNJ.gather(2, first_MN1).squeeze(2).where(fits_MN, columns)
    top_MN = _place(uniforms_MNU[..., 2 * _ATTEMPTS], height, rows_MN).where(fits_MN, (height - rows) // 2)
    left_MN = _place(uniforms_MNU[..., 2 * _ATTEMPTS + 1], width, columns_MN).where(fits_MN, (width - columns) // 2)
    return top_MN, left_MN, rows_MN, columns_MN


def _fallback(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the central crop: the image, cut to the nearest allowed shape."""
    narrowest, widest = (math.exp(log) for log in _LOG_RATIO)
    if width / height < narrowest:
        return round(width / narrowest), width
    if width / height > widest:
        return height, round(height * widest)
    return height, width


def _between(uniform: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * uniform


def _place(uniform_MN: Tensor, size: int, length_MN: Tensor) -> Tensor:
    """A whole-pixel start, equally likely wherever ``length_MN`` fits into ``size``."""
    # float32 may round u * (n + 1) up to n + 1
    return (uniform_MN * (size - length_MN + 1)).floor().minimum(size - length_MN)


def _centre_crop(pixels_NCHW: Tensor, index_N: Tensor, crop: int) -> Tensor:
    """``[N, crop, crop, C]`` uint8."""
    height, width = pixels_NCHW.shape[2:]
    # rounded half to even, as torchvision's center_crop
    top, left = round((height - crop) / 2), round((width - crop) / 2)
    return pixels_NCHW.permute(0, 2, 3, 1)[:, top : top + crop, left : left + crop][index_N]


def _normalised(images_NHWC: Tensor, data: DataConfig, dtype: torch.dtype) -> Tensor:
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    shift_C, scale_C = _shift_and_scale(data.normalise, images_NHWC.shape[3], images_NHWC.device, exact)
    return torch.addcmul(shift_C, images_NHWC.to(exact), scale_C).to(dtype)


@functools.cache  # no step is to copy from the host
def _shift_and_scale(name: str, channels: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Grey images take the mean of the three channels' statistics."""
    mean_C, deviation_C = (torch.tensor(values, dtype=torch.float64) for values in STATISTICS[name])
    if channels == 1:
        mean_C, deviation_C = mean_C.mean(0, keepdim=True), deviation_C.mean(0, keepdim=True)
    return (-mean_C / deviation_C).to(device, dtype), (1 / (255 * deviation_C)).to(device, dtype)


def _to_members(images_NHWC: Tensor, members: int) -> Tensor:
    """``[M*B, H, W, C] -> [B, M*C, H, W]``, channels last."""
    count, height, width, channels = images_NHWC.shape
    by_member = images_NHWC.reshape(members, count // members, height, width, channels)
    last = by_member.permute(1, 2, 3, 0, 4).reshape(count // members, height, width, members * channels)
    return last.contiguous().permute(
        0, 3, 1, 2
    )  # the reshape of one member alone is a view, of rows and columns swapped
