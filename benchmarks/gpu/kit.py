"""What the parts share: the run, its images, the device, and what earlier parts have measured."""

from dataclasses import dataclass, field
from pathlib import Path

import torch

from benchmarks.gpu.steps import Burst, real_step
from trainer.config.run_config import RunConfig
from trainer.data.tasks import TaskStream
from trainer.training.options import DeviceOptions

_AROUND_GPU_S, _AROUND_CPU_S = 3.0, 0.3
"""seconds to prepare something, on a GPU most of all to choose kernels"""


@dataclass
class Kit:
    """Everything that a part needs."""

    config: RunConfig
    task_stream: TaskStream
    options: DeviceOptions
    rounds: int
    members: tuple[int, ...]
    """numbers of members that are tried, rising"""
    methods: tuple[str, ...] = ()
    """methods whose members are compared with single runs, besides the run's own"""
    peer: Path | None = None
    peer_workers: int | None = None
    step_s: dict[int, float] = field(default_factory=dict)
    """seconds of a step by its number of members, as far as they were measured"""
    run_s: float | None = None
    """seconds of the run that was trained"""
    pack: int | None = None
    """members of the pack that was trained"""
    acc_pct: list[float] = field(default_factory=list)
    """accuracies of that pack, by seed"""

    def a_step_s(self) -> float:
        """Seconds of a step of one run. The first call times a few."""
        if 1 not in self.step_s:
            self.step_s[1] = Burst(real_step([self.config], self.options, self.task_stream), self.device, burst_s=0)()
        return self.step_s[1]

    def expected_s(self, steps: float) -> float:
        """Seconds that so many steps of one run take, and what must be prepared for them."""
        return steps * self.a_step_s() + (_AROUND_GPU_S if self.on_gpu else _AROUND_CPU_S)

    @property
    def device(self) -> torch.device:
        """Where everything is computed."""
        return self.options.resolve_device()

    @property
    def on_gpu(self) -> bool:
        """Whether that is a GPU; on a CPU the same parts have less to say."""
        return self.device.type == "cuda"
