"""State: a learner together with where its training stands."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.config.run_config import RunConfig
from trainer.nets import resnet
from trainer.nets.heads import ClassScale, Head
from trainer.nets.network import Network
from trainer.results.history import History
from trainer.stages import second_stage
from trainer.stages.learner import Learner, select, under
from trainer.stages.stage import Stage
from trainer.training.sgd import Sgd


@dataclass
class Cursor:
    """What is trained next: everything before it is done."""

    task: int = 0
    stage: int = 0
    epoch: int = 0
    step: int = 0


def new_learner(configs: Sequence[RunConfig], channels: int, device: torch.device, precision: str) -> Learner:
    """A learner before its first task: a member a configuration.

    ``channels``: of the images; ``precision``: bfloat16, float32 or float64.
    """
    config, seeds = configs[0], [config.seed for config in configs]
    net, *others = (
        resnet.build(
            config.net.name,
            channels,
            seeds,
            shortcut=config.net.shortcut,
            init=config.net.init,
            last_relu=config.method.last_relu,
            drawn_as=name,
        )
        for name in ("", *config.method.backbones)
    )
    parts = {**config.method.parts(len(seeds), net.features), **dict(zip(config.method.backbones, others, strict=True))}
    for part in parts.values():
        if isinstance(part, Head):
            part.init = config.net.init
    if config.second_stage is not None:
        parts[second_stage.PART] = ClassScale(len(seeds))
    dtype = torch.float64 if precision == "float64" else torch.float32
    return Learner(Network(net, parts).to(device, dtype), seeds)


class State:
    """M live members. ``positions[m]`` says which of the run's configurations member m is."""

    def __init__(self, configs: Sequence[RunConfig], learner: Learner, precision: str) -> None:
        """``precision``: bfloat16, float32 or float64."""
        self.configs = list(configs)
        self.positions = list(range(len(configs)))
        self.learner, self.precision = learner, precision
        self.optimiser: Sgd | None = None
        self._waiting: dict[str, Tensor] = {}
        self.buffers: dict[str, Tensor] = {}
        """buffers of the current stage"""
        self.sums: dict[str, Tensor] = {}
        """what the steps of the current epoch have come to so far"""
        self.cursor = Cursor()
        self.elapsed_s = self.epoch_s = 0.0
        """seconds spent on the current task, and on the current epoch"""
        self.histories = [History() for _ in configs]
        """histories of all configurations, by position, live or not"""

    @property
    def members(self) -> int:
        return len(self.configs)

    def autocast(self) -> torch.autocast:
        """Convolutions in bfloat16 where the precision says so; parameters stay as they are."""
        enabled = self.precision == "bfloat16"
        return torch.autocast(self.learner.device.type, dtype=torch.bfloat16, enabled=enabled)

    def folded(self, *, network: bool) -> Learner:
        """The learner for forward passes: see ``Learner.folded``. In other precisions than bfloat16 it is no faster."""
        folds = self.precision == "bfloat16"
        return self.learner.folded(torch.bfloat16, network=network) if folds else self.learner

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name, each ``[M, ...]``: the learner's, the stage's, the epoch's, the optimiser's momenta."""
        found = self.learner.tensors() | {f"buffer/{k}": v for k, v in self.buffers.items()}
        found |= {f"sum/{k}": v for k, v in self.sums.items()}
        return found | {f"momentum/{k}": v for k, v in self._momenta().items()}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take over what ``tensors`` returned, of as many members as there are configurations.

        Momenta wait for the stage that they belong to: see ``start_optimiser``.
        """
        tensors = {name: tensor.to(self.learner.device) for name, tensor in tensors.items()}
        self.learner.load_tensors(tensors)
        self.buffers, self.sums = under(tensors, "buffer/"), under(tensors, "sum/")
        self.optimiser, self._waiting = None, under(tensors, "momentum/")

    def start_optimiser(self, stage: Stage) -> None:
        """A fresh one for the stage, or one with the momenta of a checkpoint that was taken within it."""
        self.optimiser = sgd(self.learner.network, stage)
        for name, parameter in self.learner.network.named_parameters():
            if name in self._waiting:
                self.optimiser.momentum[parameter] = self._waiting[name]
        self._waiting = {}

    def subset(self, members: Sequence[int]) -> "State":
        """A state of these members alone, in this order; the same one may come more than once."""
        part = State([self.configs[m] for m in members], self.learner.subset(members), self.precision)
        part.buffers, part._waiting = select(self.buffers, members), select(self._momenta(), members)
        part.sums = select(self.sums, members)
        part.positions = [self.positions[m] for m in members]
        part.cursor, part.histories = self.cursor, self.histories
        part.elapsed_s, part.epoch_s = self.elapsed_s, self.epoch_s
        return part

    def _momenta(self) -> dict[str, Tensor]:
        if self.optimiser is None:
            return self._waiting
        kept, parameters = self.optimiser.momentum, self.learner.network.named_parameters()
        return {name: kept[parameter] for name, parameter in parameters if parameter in kept}


def sgd(network: Network, stage: Stage) -> Sgd:
    """SGD over the parameters that the stage trains, with their rates and decays; all others are frozen."""
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith(stage.trains))
        parameter.grad = None  # of the last stage: where nothing is learnt now, it would count when clipping
        if parameter.requires_grad:
            decay = 0.0 if stage.no_decay and name.startswith(stage.no_decay) else stage.optim.weight_decay
            factor = next((f for prefix, f in stage.lr_factor.items() if name.startswith(prefix)), 1.0)
            groups.setdefault((factor, decay), []).append(parameter)
    on_gpu = network.classifier.weight_MKD.is_cuda
    lr = stage.optim.lr
    return Sgd(
        [{"params": p, "lr": lr, "weight_decay": decay, "lr_factor": factor} for (factor, decay), p in groups.items()],
        stage.optim.momentum,
        fused=on_gpu,
    )
