"""The one epoch loop and the one training step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.config import OptimConfig
from trainer.data.augment import augment, draws
from trainer.data.tasks import Benchmark
from trainer.rng import stream
from trainer.stages import Stage, Step, TaskContext, Terms
from trainer.state import State


@dataclass(frozen=True)
class EpochReport:
    """What one epoch of one stage came to, a value per live member."""

    task: int
    stage: str
    epoch: int
    epochs: int
    steps: int
    lr: float
    terms: dict[str, list[float]]
    """each named loss, mean over the epoch's images, ``[M]``"""
    train_acc_pct: list[float]
    wall_s: float

    @property
    def loss(self) -> list[float]:
        """Sum of the terms, ``[M]``."""
        return [sum(values) for values in zip(*self.terms.values(), strict=True)]


def learning_rate(optim: OptimConfig, epoch: int) -> float:
    """Of a 0-based epoch: linear warm-up, then divided at each milestone that is past."""
    rise = min(1.0, (epoch + 1) / optim.warmup_epochs) if optim.warmup_epochs else 1.0
    return float(optim.lr * rise * optim.gamma ** sum(milestone <= epoch for milestone in optim.milestones))


def train_stage(
    state: State,
    stage: Stage,
    task: TaskContext,
    benchmark: Benchmark,
    after_epoch: Callable[[EpochReport], bool],
) -> None:
    """Train one stage from where the cursor stands. ``after_epoch`` returns False to stop."""
    if state.optimiser is None:
        state.start_optimiser(stage.optim)
    if state.cursor.epoch == 0:
        state.buffers = {**stage.buffers, "head_grad_MK": torch.zeros_like(state.network.head.bias_MK)}
    epoch_loop = _EpochLoop(state, stage, task, benchmark)
    for epoch in range(state.cursor.epoch, stage.optim.epochs):
        report = epoch_loop.run(epoch)
        state.cursor.epoch = epoch + 1
        if not after_epoch(report):
            break
    state.optimiser = None


class _EpochLoop:
    """The images and draws of a stage's epochs."""

    def __init__(self, state: State, stage: Stage, task: TaskContext, benchmark: Benchmark) -> None:
        self.state, self.stage, self.task, self.benchmark = state, stage, task, benchmark
        new_N = benchmark.tasks[task.index].train_N
        self.pool_MN = torch.cat([new_N.expand(state.members, -1), state.exemplars_ME], dim=1)

    def run(self, epoch: int) -> EpochReport:
        state, optim = self.state, self.stage.optim
        started = time.perf_counter()
        lr = learning_rate(optim, epoch)
        assert state.optimiser is not None
        for group in state.optimiser.param_groups:
            group["lr"] = lr
        order_MN, uniforms_MNU = self._draw(epoch)
        labels_MN = self.benchmark.train_labels_N[order_MN]
        state.network.train()
        sums: Terms = {}
        hits_M = torch.zeros(state.members, dtype=torch.int64, device=state.device)
        images = order_MN.shape[1]
        for start in range(0, images, optim.batch_size):
            part = slice(start, start + optim.batch_size)
            terms, hits_now_M = self._step(order_MN[:, part], labels_MN[:, part], uniforms_MNU[:, part])
            share = labels_MN[:, part].shape[1] / images
            for name, value_M in terms.items():
                sums[name] = sums.get(name, 0) + value_M.detach() * share
            hits_M += hits_now_M
        terms_M = {name: total_M.tolist() for name, total_M in sums.items()}
        return EpochReport(
            task=self.task.index,
            stage=self.stage.name,
            epoch=epoch,
            epochs=optim.epochs,
            steps=math.ceil(images / optim.batch_size),
            lr=lr,
            terms=terms_M,
            train_acc_pct=(hits_M * (100 / images)).tolist(),
            wall_s=time.perf_counter() - started,
        )

    def _draw(self, epoch: int) -> tuple[Tensor, Tensor]:
        """Each member's shuffle and augmentation for the whole epoch: ``[M, N]`` image indices, ``[M, N, U]``."""
        images = self.pool_MN.shape[1]
        where = (self.task.index, self.stage.name, epoch)
        seeds = self.state.seeds
        order_MN = torch.stack([torch.randperm(images, generator=stream(s, "shuffle", *where)) for s in seeds])
        width = draws(self.state.configs[0].data)
        uniforms_MNU = torch.stack([torch.rand(images, width, generator=stream(s, "augment", *where)) for s in seeds])
        device = self.state.device
        return self.pool_MN.gather(1, order_MN.to(device)), uniforms_MNU.to(device)

    def _step(self, index_MB: Tensor, labels_MB: Tensor, uniforms_MBU: Tensor) -> tuple[Terms, Tensor]:
        """One optimiser step of every member. Returns the terms and the hits, each ``[M]``."""
        state, stage = self.state, self.stage
        assert state.optimiser is not None
        images = augment(self.benchmark.train_pixels_NCHW, index_MB, uniforms_MBU, state.configs[0].data, state.dtype)
        teacher_MBK = None
        with state.autocast():
            if state.teacher is not None:
                with torch.no_grad():
                    _, teacher_MBK = state.teacher(images)
            features_MBD, logits_MBK = state.network(images)
        head = state.network.head
        step = Step(features_MBD, logits_MBK, labels_MB, teacher_MBK, self.task, state.buffers, head)
        terms = stage.loss(step)
        state.optimiser.zero_grad(set_to_none=True)
        # The sum over members gives each of them exactly its own gradient.
        torch.stack([value_M.sum() for value_M in terms.values()]).sum().backward()
        if stage.adjust_grads is not None:
            stage.adjust_grads(step)
        assert head.weight_MKD.grad is not None
        state.buffers["head_grad_MK"].add_(head.weight_MKD.grad.norm(dim=2))
        if stage.optim.clip_norm is not None:
            clip_by_member(list(state.network.parameters()), stage.optim.clip_norm)
        state.optimiser.step()
        return terms, (logits_MBK.detach().argmax(2) == labels_MB).sum(1)


@torch.no_grad()
def clip_by_member(parameters: list[torch.nn.Parameter], largest: float) -> None:
    """Scale each member's gradient down to norm ``largest`` where it exceeds it."""
    grads = [p.grad for p in parameters if p.grad is not None]
    norm_M = torch.stack([g.flatten(1).square().sum(1) for g in grads]).sum(0).sqrt()
    scale_M = (largest / norm_M.clamp_min(1e-6)).clamp_max(1)
    for grad in grads:
        grad.mul_(scale_M.view(-1, *[1] * (grad.dim() - 1)))
