"""SGD with momentum, as ``torch.optim.SGD`` computes it.

The class of PyTorch imports its whole compiler (0.75 s of processor time in every process that trains); the function
that computes its step does not.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import sgd


class Sgd:
    """``groups``: of parameters, with ``params``, ``lr``, ``weight_decay`` and whatever else belongs to them."""

    def __init__(self, groups: Sequence[dict[str, Any]], momentum: float, *, fused: bool) -> None:
        """``fused``: one kernel a group, on CUDA; otherwise a kernel an operation."""
        self.param_groups = list(groups)
        self.momentum: dict[Parameter, Tensor] = {}
        """of the parameters that have moved; none without momentum"""
        self._factor, self._fused = momentum, fused

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            momenta = [self.momentum.get(parameter) for parameter in moved]
            if not moved:
                continue
            sgd.sgd(
                moved,
                [parameter.grad for parameter in moved],
                momenta,
                foreach=not self._fused,
                fused=self._fused,
                weight_decay=group["weight_decay"],
                momentum=self._factor,
                lr=group["lr"],
                dampening=0,
                nesterov=False,
                maximize=False,
            )
            if self._factor:
                found = zip(moved, momenta, strict=True)
                self.momentum.update((parameter, momentum) for parameter, momentum in found if momentum is not None)
