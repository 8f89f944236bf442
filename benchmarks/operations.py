"""Count what a step costs a device, on any machine: its operations, and the results that the host waits for.

On a GPU every operation is one or more launches that take Python microseconds each, however little they compute, which
bounds networks as small as these. Every result that the host reads makes it wait for all operations before it.
"""

import statistics
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple, Self
from unittest import mock

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils._python_dispatch import TorchDispatchMode

from trainer.training.sgd import Sgd

WAITED_FOR = {"_local_scalar_dense", "bincount", "equal", "is_nonzero", "lift_fresh", "masked_select", "nonzero"}
"""operations after which the host of a CUDA device waits, and the one by which constants are copied from the host"""

_LAST = 10
"""steps that are looked at"""


class Asked(NamedTuple):
    """Of one step."""

    operations: int
    waits: int
    """a lower bound: PyTorch does not tell of ``.cpu()`` and ``.numpy()`` on a CPU"""


class Watch(TorchDispatchMode):
    """Within: counts operations that compute, and names those that a host would wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0
        self.waits: Counter[str] = Counter()
        self._one_hot = mock.patch.object(torch.nn.functional, "one_hot", _one_hot)

    def __enter__(self) -> Self:
        self._one_hot.start()
        super().__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        self._one_hot.stop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if not (func.is_view or "empty" in name or name == "detach" or name.startswith("_record_function")):
            self.operations += 1
        indices = args[1] if name.startswith("index") and isinstance(args[1], list | tuple) else ()
        if name in WAITED_FOR or "unique" in name or any(i is not None and i.dtype == torch.bool for i in indices):
            self.waits[self.named(name)] += 1
        return func(*args, **(kwargs or {}))

    def named(self, name: str) -> str:
        """What an operation that is waited for is counted as."""
        return name


def a_step(train: Callable[[], object]) -> Asked:
    """Of a training by this trainer's optimiser or one of PyTorch's: the median of its last steps."""
    steps: list[Asked] = []
    inner = Sgd.step
    with Watch() as watch:

        def stepped(*_: object) -> None:
            steps.append(Asked(watch.operations, watch.waits.total()))
            watch.operations = 0
            watch.waits.clear()

        def ours(self: Sgd) -> None:
            inner(self)
            stepped()

        hook = register_optimizer_step_post_hook(stepped)
        try:
            with mock.patch.object(Sgd, "step", ours):
                train()
        finally:
            hook.remove()
    return Asked(*(int(statistics.median(of)) for of in zip(*steps[-_LAST:], strict=True)))


def _one_hot(labels: Tensor, num_classes: int) -> Tensor:
    """As CUDA computes it: PyTorch's looks at the labels on a CPU, and there alone."""
    return (labels.unsqueeze(-1) == torch.arange(num_classes, device=labels.device)).long()
