"""State: all that changes while members train. Every tensor leads with the member axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.config.run_config import RunConfig
from trainer.nets import resnet
from trainer.nets.heads import ClassScale
from trainer.nets.member import assign
from trainer.nets.network import Network
from trainer.results.history import History
from trainer.stages import second_stage as stage2
from trainer.stages.stage import TEACHER, Networks, Stage


@dataclass
class Cursor:
    """What is to be trained next: everything before it is done."""

    task: int = 0
    stage: int = 0
    epoch: int = 0


class State:
    """M live members. ``positions[m]`` says which of the run's configurations member m is.

    ``tensors`` and ``load_tensors`` turn all of it into named tensors ``[M, ...]`` and back: taking members
    out, putting them side by side and saving are then one operation each on plain tensors.
    """

    def __init__(self, configs: Sequence[RunConfig], channels: int, device: torch.device, precision: str) -> None:
        """``channels``: of the images; ``precision``: bfloat16, float32 or float64."""
        self.configs = list(configs)
        self.positions = list(range(len(configs)))
        self.channels, self.device, self.precision = channels, device, precision
        self.network = self._new_network()
        self.frozen: dict[str, Network] = {}
        """networks that learn no more, by name"""
        self.exemplars_ME = torch.empty(self.members, 0, dtype=torch.int64, device=device)
        self.optimiser: torch.optim.SGD | None = None
        self._waiting: dict[str, Tensor] = {}
        self.buffers: dict[str, Tensor] = {}
        """of the stage under way"""
        self.method_state: dict[str, Tensor] = {}
        """what the method keeps from task to task"""
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

    @property
    def networks(self) -> Networks:
        return Networks(self.network, self.frozen)

    def autocast(self) -> torch.autocast:
        """Convolutions in bfloat16 where the precision says so; parameters stay as they are."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16")

    def start_optimiser(self, stage: Stage) -> None:
        """A fresh SGD over what the stage trains; all else is frozen."""
        groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(name.startswith(stage.trains))
            parameter.grad = None  # of the last stage: where nothing is learnt now, it would count when clipping
            if parameter.requires_grad:
                decay = 0.0 if stage.no_decay and name.startswith(stage.no_decay) else stage.optim.weight_decay
                factor = next((f for prefix, f in stage.lr_factor.items() if name.startswith(prefix)), 1.0)
                groups.setdefault((factor, decay), []).append(parameter)
        on_gpu = self.device.type == "cuda"
        self.optimiser = torch.optim.SGD(
            [{"params": p, "weight_decay": decay, "lr_factor": factor} for (factor, decay), p in groups.items()],
            lr=stage.optim.lr,
            momentum=stage.optim.momentum,
            fused=on_gpu,
            foreach=not on_gpu,
        )

    def freeze_teacher(self) -> None:
        """Keep the network as it stands now, to distil from."""
        self.frozen[TEACHER] = self.network.frozen()

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name, each ``[M, ...]``."""
        found = {f"network/{k}": v for k, v in self.network.state_dict().items()}
        for name, network in self.frozen.items():
            found |= {f"frozen/{name}/{k}": v for k, v in network.state_dict().items()}
        found |= {f"buffer/{k}": v for k, v in self.buffers.items()}
        found |= {f"method_state/{k}": v for k, v in self.method_state.items()}
        found["exemplars_ME"] = self.exemplars_ME
        return found | {f"momentum/{k}": v for k, v in self._momenta().items()}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take over what ``tensors`` returned, of as many members as there are configurations.

        Momenta wait for the stage that they belong to: see ``restore_momenta``.
        """
        tensors = {name: tensor.to(self.device) for name, tensor in tensors.items()}
        assign(self.network, _under(tensors, "network/"))
        of_frozen = _under(tensors, "frozen/")
        self.frozen = {}
        for name in dict.fromkeys(key.partition("/")[0] for key in of_frozen):
            network = self._new_network()
            assign(network, _under(of_frozen, f"{name}/"))
            self.frozen[name] = network.eval().requires_grad_(False)
        self.buffers, self.method_state = _under(tensors, "buffer/"), _under(tensors, "method_state/")
        self.exemplars_ME = tensors["exemplars_ME"]
        self.optimiser, self._waiting = None, _under(tensors, "momentum/")

    def restore_momenta(self) -> None:
        """Put the momenta of a checkpoint taken within a stage into the optimiser just started for that stage."""
        assert self.optimiser is not None
        for name, parameter in self.network.named_parameters():
            if name in self._waiting:
                self.optimiser.state[parameter]["momentum_buffer"] = self._waiting[name]
        self._waiting = {}

    def subset(self, members: Sequence[int]) -> State:
        """A state of these members alone, in this order; the same one may come more than once."""
        rows = torch.tensor(members, device=self.device)
        part = State([self.configs[m] for m in members], self.channels, self.device, self.precision)
        part.load_tensors({name: tensor.index_select(0, rows) for name, tensor in self.tensors().items()})
        part.positions = [self.positions[m] for m in members]
        part.cursor, part.elapsed_s, part.histories = self.cursor, self.elapsed_s, self.histories
        return part

    def _momenta(self) -> dict[str, Tensor]:
        if self.optimiser is None:
            return self._waiting
        buffers = {n: self.optimiser.state[p].get("momentum_buffer") for n, p in self.network.named_parameters()}
        return {name: buffer for name, buffer in buffers.items() if buffer is not None}

    def _new_network(self) -> Network:
        config = self.configs[0]
        net = resnet.build(
            config.net.name,
            self.channels,
            self.seeds,
            shortcut=config.net.shortcut,
            last_relu=config.method.last_relu,
        )
        parts = config.method.parts(self.members, net.features)
        if config.stage2 is not None:
            parts[stage2.PART] = ClassScale(self.members)
        return Network(net, parts).to(self.device, self.dtype)


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
