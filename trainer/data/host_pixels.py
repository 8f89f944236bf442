"""Images that fit into no memory at once: they stay in the cache's file, or on the host, and come batch by batch."""

import contextlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SHARE = 0.5
"""of the memory that is free, which images may take: networks and their activations need the rest"""


@dataclass(frozen=True)
class HostPixels:
    """Images of which only those of a batch are copied to the device: slower, and of any number."""

    pixels_NHWC: NDArray[np.uint8]
    """memory-mapped where they do not fit the host's memory either"""
    rows_N: NDArray[np.int64]
    """where each image lies in it"""

    @property
    def shape(self) -> torch.Size:
        """``[N, C, H, W]``, as of the tensor that it stands for."""
        height, width, channels = self.pixels_NHWC.shape[1:]
        return torch.Size((len(self.rows_N), channels, height, width))

    def __getitem__(self, index_N: Tensor) -> Self:
        return replace(self, rows_N=self.rows_N[index_N.cpu().numpy()])

    def take(self, index_N: Tensor) -> Tensor:
        """``[N, H, W, C]``, on the device of the index."""
        rows_N = self.rows_N[index_N.cpu().numpy()]
        return torch.from_numpy(np.ascontiguousarray(self.pixels_NHWC[rows_N])).to(index_N.device)


Pixels = Tensor | HostPixels
"""``[N, C, H, W]``, uint8"""


def taken(pixels: Pixels, index_N: Tensor) -> Tensor:
    """The images of an index, ``[N, H, W, C]``."""
    return pixels.take(index_N) if isinstance(pixels, HostPixels) else pixels.permute(0, 2, 3, 1)[index_N]


def moved(pixels: Pixels, device: torch.device) -> Pixels:
    """On the device, or on the host where it has too little memory for them."""
    if isinstance(pixels, HostPixels) or pixels.device == device:
        return pixels
    if pixels.numel() > SHARE * free_bytes(device):
        return HostPixels(pixels.permute(0, 2, 3, 1).numpy(), np.arange(len(pixels)))
    return pixels.to(device)


def free_bytes(device: torch.device) -> float:
    """Free memory of the device; of the host, what its kernel and its control group leave. Infinite if unknown."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    found = [float("inf")]
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(next(int(line.split()[1]) * 1024.0 for line in lines if line.startswith("MemAvailable:")))
    with contextlib.suppress(OSError, ValueError):  # "max" where there is no limit
        group = Path("/sys/fs/cgroup")
        found.append(float(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())))
    if len(found) == 1 and hasattr(os, "sysconf"):
        with contextlib.suppress(OSError, ValueError):  # macOS does not say what is free, but what there is
            found.append(float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")))
    return min(found)
