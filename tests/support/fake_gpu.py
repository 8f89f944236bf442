"""A GPU that is not there: tensors that say ``cuda``, whose values a CPU computes, so that whole runs go through.

Two things raise. An operation on tensors of both sides, indices too, which CUDA would copy; numbers without a dimension
may lie on the host. And, where it is not allowed, whatever makes the host wait. No CUDA kernel runs, and what PyTorch
does within one of its functions is what it does on a CPU.

PyTorch's own fake CUDA tensors do not serve: in a build without CUDA their backward pass ends the process, and they
have no values for a run to decide by.
"""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, Self
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from benchmarks.operations import Watch
from trainer.data import augment

_DEVICE = torch.device("cuda", 0)
_MOVES = {Tensor.to, Tensor.cpu, Tensor.cuda}
_COPIES = {"tensor", "as_tensor"}
"""what makes tensors on the host, and copies them where they are wanted"""
_MIXES = {"copy_", "_has_compatible_shallow_copy_type"}
"""what takes tensors of both sides; the second one looks at no value"""
_READS = {"item", "tolist", "__bool__", "__int__", "__float__", "__index__", "nonzero", "bincount", "unique", "equal"}


class DeviceMix(RuntimeError):
    """An operation on tensors of the GPU and of the host."""


class HostWait(RuntimeError):
    """A result that the host reads, or a tensor that it copies to the GPU, where it must not wait."""


class OnGpu(Tensor):
    """A tensor that lies on the GPU, as far as Python can tell."""

    device = property(lambda self: _DEVICE)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if id(self) not in memo:
            copied = self.detach().clone().requires_grad_(self.requires_grad)
            copied.__dict__.update(self.__dict__)  # whether it is a parameter
            memo[id(self)] = copied
        return memo[id(self)]  # type: ignore[no-any-return]


class FakeGpu(TorchFunctionMode):
    """Within: there is such a device. Tensors of the host are as ever."""

    def __init__(self, memory: int = 8 << 30) -> None:
        """``memory``: bytes, all of them free."""
        super().__init__()
        self.memory, self.waits = memory, 0
        """bytes; how often the host has waited so far"""
        self._strict, self._within = False, contextlib.ExitStack()

    def __enter__(self) -> Self:
        facts: dict[str, Any] = {
            "is_available": True,
            "device_count": 1,
            "get_device_name": "fake",
            "mem_get_info": (self.memory, self.memory),
            "empty_cache": None,
            "reset_peak_memory_stats": None,
            "max_memory_reserved": self.memory,
        }
        for name, value in facts.items():
            self._within.enter_context(mock.patch.object(torch.cuda, name, return_value=value))
        autocast = torch.autocast
        self._within.enter_context(
            mock.patch.object(torch, "autocast", lambda device_type, **kwargs: autocast("cpu", **kwargs))
        )
        overwrites = torch.__future__.get_overwrite_module_params_on_conversion()
        torch.__future__.set_overwrite_module_params_on_conversion(True)  # a parameter that moves is a new one
        self._within.callback(torch.__future__.set_overwrite_module_params_on_conversion, overwrites)
        _forget_constants()
        self._within.callback(_forget_constants)
        super().__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        self._within.close()

    @contextlib.contextmanager
    def strict(self) -> Iterator[None]:
        """Within: whatever makes the host wait raises HostWait, at the latest at the end."""
        self._strict = True
        try:
            with Watch() as watch:
                yield
        finally:
            self._strict = False
        if watch.waits:
            raise HostWait(", ".join(watch.waits))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunctionSubclass():
            return (self._move if func in _MOVES else self._call)(func, args, kwargs)

    def _call(self, func: Any, args: Any, kwargs: Any) -> Any:
        name, tensors = getattr(func, "__name__", ""), list(_tensors((*args, *kwargs.values())))
        on_gpu = any(type(tensor) is OnGpu for tensor in tensors)
        mixed = on_gpu and any(type(tensor) is not OnGpu and tensor.dim() for tensor in tensors)
        if (mixed and name not in _MIXES) or (on_gpu and name == "numpy"):
            raise DeviceMix(f"{name}: {', '.join(f'{t.device} {list(t.shape)}' for t in tensors)}")
        to_gpu = on_gpu
        if (device := kwargs.get("device")) is not None:
            to_gpu, kwargs = torch.device(device).type == "cuda", {**kwargs, "device": "cpu"}
        if (on_gpu and name in _READS) or (mixed and name == "copy_") or (to_gpu and name in _COPIES):
            self._wait(name)
        found = func(*args, **kwargs)
        return _lying_on_gpu(found) if to_gpu else found

    def _move(self, func: Any, args: Any, kwargs: Any) -> Any:
        tensor, was_on_gpu = args[0], type(args[0]) is OnGpu
        if func is not Tensor.to:
            to_gpu, found = func is Tensor.cuda, tensor
        else:
            target = next(
                (v for v in (*args[1:], *kwargs.values()) if isinstance(v, Tensor | torch.device | str)), tensor
            )
            to_gpu = (target.device if isinstance(target, Tensor) else torch.device(target)).type == "cuda"
            args = [torch.device("cpu") if isinstance(arg, torch.device | str) else arg for arg in args]
            found = func(*args, **{**kwargs, **({"device": "cpu"} if "device" in kwargs else {})})
        if was_on_gpu != to_gpu:
            self._wait(func.__name__)
            found = found.clone() if found is tensor else found
        return _lying_on_gpu(found) if to_gpu else found.as_subclass(Tensor)

    def _wait(self, name: str) -> None:
        self.waits += 1
        if self._strict:
            raise HostWait(name)


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _lying_on_gpu(found: Any) -> Any:
    if isinstance(found, Tensor):
        return found if type(found) is OnGpu else found.as_subclass(OnGpu)
    if isinstance(found, list | tuple) and any(isinstance(value, Tensor) for value in found):
        return tree_map_only(Tensor, _lying_on_gpu, found)
    return found


def _forget_constants() -> None:
    """Those that are kept for a device."""
    for function in vars(augment).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()
