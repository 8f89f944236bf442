"""State: all that changes while members train. Every tensor leads with the member axis."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from trainer.config import OptimConfig, RunConfig
from trainer.nets import resnet
from trainer.nets.heads import LinearHead


@dataclass
class Cursor:
    """What is to be trained next: everything before it is done."""

    task: int = 0
    stage: int = 0
    epoch: int = 0


@dataclass
class History:
    """What one run has reported so far. Plain values, so that a checkpoint can hold it."""

    status: str = "running"
    error: str | None = None
    started_at: str | None = None
    accuracy_pct: list[list[float]] = field(default_factory=list)
    tasks: list[dict[str, Any]] = field(default_factory=list)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    classes: list[dict[str, Any]] = field(default_factory=list)


class Network(nn.Module):
    """Backbone and head of M members. ``[B, M*C, H, W] -> (features [M, B, D], logits [M, B, K])``."""

    def __init__(self, net: resnet.ResNet, head: LinearHead) -> None:
        super().__init__()
        self.net, self.head = net, head

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        # The head and everything after it are computed in the head's own precision, whatever autocast does to the
        # convolutions: the reweighting divides by gradient norms.
        features_MBD = self.net(images)
        with torch.autocast(images.device.type, enabled=False):
            features_MBD = features_MBD.to(self.head.weight_MKD.dtype)
            return features_MBD, self.head(features_MBD)


class State:
    """M live members. ``positions[m]`` says which of the run's configurations member m is.

    ``tensors`` and ``State.from_tensors`` turn all of it into named tensors ``[M, ...]`` and back: taking members
    out, putting them side by side and saving are then one operation each on plain tensors.
    """

    def __init__(self, configs: Sequence[RunConfig], channels: int, device: torch.device, precision: str) -> None:
        """``channels``: of the images; ``precision``: bfloat16, float32 or float64."""
        self.configs = list(configs)
        self.positions = list(range(len(configs)))
        self.channels, self.device, self.precision = channels, device, precision
        net = resnet.build(configs[0].net.name, channels, self.seeds)
        self.network = Network(net, LinearHead(self.members, net.features)).to(device, self.dtype)
        self.teacher: Network | None = None
        self.exemplars_ME = torch.empty(self.members, 0, dtype=torch.int64, device=device)
        self.optimiser: torch.optim.SGD | None = None
        self.buffers: dict[str, Tensor] = {}
        self.cursor = Cursor()
        self.elapsed_s = 0.0
        """spent on the task under way"""
        self.histories = [History() for _ in configs]
        """of all configurations of the run, by position, live or not"""

    @property
    def members(self) -> int:
        return len(self.configs)

    @property
    def seeds(self) -> list[int]:
        return [config.seed for config in self.configs]

    @property
    def dtype(self) -> torch.dtype:
        """Of parameters, features and logits."""
        return torch.float64 if self.precision == "float64" else torch.float32

    def autocast(self) -> torch.autocast:
        """Convolutions in bfloat16 where the precision says so; parameters stay as they are."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16")

    def start_optimiser(self, optim: OptimConfig) -> None:
        """A fresh SGD over all parameters, as every stage begins with."""
        parameters = list(self.network.parameters())
        self.optimiser = torch.optim.SGD(
            parameters,
            lr=optim.lr,
            momentum=optim.momentum,
            weight_decay=optim.weight_decay,
            fused=self.device.type == "cuda",
            foreach=self.device.type != "cuda",
        )

    def freeze_teacher(self) -> None:
        """Keep the network as it stands now, to distil from."""
        self.teacher = copy.deepcopy(self.network).eval().requires_grad_(False)

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name, each ``[M, ...]``."""
        found = {f"network/{k}": v for k, v in self.network.state_dict().items()}
        if self.teacher is not None:
            found |= {f"teacher/{k}": v for k, v in self.teacher.state_dict().items()}
        found |= {f"buffer/{k}": v for k, v in self.buffers.items()}
        found["exemplars_ME"] = self.exemplars_ME
        if self.optimiser is not None:
            for index, parameter in enumerate(self.network.parameters()):
                momentum = self.optimiser.state[parameter].get("momentum_buffer")
                if momentum is not None:
                    found[f"momentum/{index}"] = momentum
        return found

    def load_tensors(self, tensors: dict[str, Tensor], optim: OptimConfig) -> None:
        """Take over what ``tensors`` returned, of as many members as there are configurations."""
        self.network.head = self._empty_head(tensors["network/head.bias_MK"].shape[1])
        self.network.load_state_dict(_under(tensors, "network/"))
        self.teacher = None
        if "teacher/head.bias_MK" in tensors:
            self.freeze_teacher()
            assert self.teacher is not None
            self.teacher.head = self._empty_head(tensors["teacher/head.bias_MK"].shape[1]).requires_grad_(False)
            self.teacher.load_state_dict(_under(tensors, "teacher/"))
        self.buffers = {k: v.to(self.device) for k, v in _under(tensors, "buffer/").items()}
        self.exemplars_ME = tensors["exemplars_ME"].to(self.device)
        self.optimiser = None
        momenta = _under(tensors, "momentum/")
        if momenta:
            self.start_optimiser(optim)
            assert self.optimiser is not None
            for index, parameter in enumerate(self.network.parameters()):
                self.optimiser.state[parameter]["momentum_buffer"] = momenta[str(index)].to(self.device)

    def subset(self, members: Sequence[int]) -> State:
        """A state of these members alone, in this order; the same one may come more than once."""
        rows = torch.tensor(members, device=self.device)
        part = State([self.configs[m] for m in members], self.channels, self.device, self.precision)
        tensors = {name: tensor.index_select(0, rows) for name, tensor in self.tensors().items()}
        part.load_tensors(tensors, self.configs[0].optim)
        part.positions = [self.positions[m] for m in members]
        part.cursor, part.elapsed_s, part.histories = self.cursor, self.elapsed_s, self.histories
        return part

    def _empty_head(self, classes: int) -> LinearHead:
        return LinearHead(self.members, self.network.net.features, classes).to(self.device, self.dtype)


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
