"""Device, precision and determinism of a run: what may change its last digits, but not what it is."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from trainer.errors import ConfigError
from trainer.limits import PRECISIONS


@dataclass(frozen=True)
class DeviceOptions:
    """How a run is computed."""

    device: str = "auto"
    """auto (a GPU where there is one), cpu, cuda or cuda:N"""
    precision: str = "auto"
    """auto: bfloat16 convolutions on CUDA, else float32; float64 is for proofs"""
    compile: bool = False
    """torch.compile the backbone"""
    deterministic: bool = False
    """bit-equal repeats on CUDA too, slower; the CPU is deterministic anyway"""
    checkpoint_every_epochs: int = 0
    """also checkpoint every so many epochs of a task; 0: not by epochs"""
    checkpoint_every_s: float = 300.0
    """also checkpoint after a step when the last checkpoint is so many seconds old; 0: not by time"""

    def resolve_device(self) -> torch.device:
        """Raises ConfigError if there is no such device here."""
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            device = torch.device(self.device)
        except RuntimeError:
            known = ("auto", "cpu", "cuda", "cuda:N")
            problem = f"no such device: {self.device!r}"
            raise ConfigError.unknown(problem, self.device, known, field="--device") from None
        if device.type == "cuda" and not (device.index or 0) < torch.cuda.device_count():
            problem = f"{self.device} is not available: {torch.cuda.device_count()} CUDA devices found"
            raise ConfigError(problem, field="--device")
        return device

    def resolve_precision(self) -> str:
        """bfloat16, float32 or float64. Raises ConfigError for any other word."""
        if self.precision not in PRECISIONS:
            problem = f"no such precision: {self.precision!r}"
            raise ConfigError.unknown(problem, self.precision, PRECISIONS, field="--precision")
        if self.precision == "auto":
            return "bfloat16" if self.resolve_device().type == "cuda" else "float32"
        return self.precision


def cpu_bfloat16() -> str | None:
    """What this CPU multiplies bfloat16 with, AMX or AVX512-BF16; None: nothing, and bfloat16 is no faster."""
    found = torch.cpu.get_capabilities()
    if found.get("amx_tile") and found.get("amx_bf16"):
        return "AMX"
    return "AVX512-BF16" if found.get("avx512_bf16") else None


@contextlib.contextmanager
def deterministic(on: bool) -> Iterator[None]:
    """Within: only deterministic kernels. What was set before is put back."""
    if on:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it matrix products on CUDA are refused
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = not on
    _use_deterministic_algorithms(on)
    try:
        yield
    finally:
        _use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]


def _use_deterministic_algorithms(on: bool) -> None:
    """Without a call that changes nothing: it imports all of torch's compiler, which takes a second."""
    if torch.are_deterministic_algorithms_enabled() != on:
        torch.use_deterministic_algorithms(on)
