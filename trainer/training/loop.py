"""The one epoch loop and the one training step."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from trainer.data.augment import augment, centre, crops, uniforms_per_image
from trainer.data.mix import Mixup, blended
from trainer.data.tasks import TaskStream
from trainer.methods.base import Method
from trainer.nets.member import repeat_images
from trainer.nets.network import Outputs
from trainer.results.rows import EpochRow
from trainer.rng import MemberStreams
from trainer.stages.learner import TEACHER, Learner
from trainer.stages.stage import Stage, Step, TaskContext, TaskImages, Terms
from trainer.training import plateau
from trainer.training.state import State

HEAD_GRAD = "head_grad_MK"
"""buffer of the sums over steps of the gradient norms of the head's rows"""
_HITS = "hits_M"
"""sum over an epoch's steps of the images that were classified correctly; the other sums are of the named losses"""


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
    rates: tuple[float, ...] | None = None
    """factor of each member's learning rate, 0 for one that had ended the stage before; None: 1"""
    last: bool = False
    """whether every member has ended the stage with this epoch"""

    def ended(self, member: int) -> bool:
        """Whether the member had ended the stage before this epoch."""
        return self.rates is not None and not self.rates[member]

    @property
    def loss(self) -> list[float]:
        """Sum of the terms, ``[M]``."""
        return [sum(values) for values in zip(*self.terms.values(), strict=True)]

    def row(self, member: int) -> EpochRow:
        """What the epoch came to for one member."""
        return EpochRow(
            task=self.task,
            stage=self.stage,
            epoch=self.epoch,
            steps=self.steps,
            lr=self.lr * (1 if self.rates is None else self.rates[member]),
            loss=self.loss[member],
            terms={name: values[member] for name, values in self.terms.items()},
            train_acc_pct=self.train_acc_pct[member],
            wall_s=self.wall_s,
        )


def train_stage(
    state: State,
    stage: Stage,
    task: TaskContext,
    images: TaskImages,
    task_stream: TaskStream,
    after_step: Callable[[], None],
    after_epoch: Callable[[EpochReport], bool],
) -> None:
    """Train one stage from where the cursor stands. ``after_epoch`` returns False to stop."""
    if state.cursor.epoch == state.cursor.step == 0:
        if stage.prepare is not None:
            stage.prepare(state.learner, images)
        grads_MK = task.zeros_MK() if state.cursor.stage == 0 else state.buffers[HEAD_GRAD]
        state.buffers = {**stage.buffers, HEAD_GRAD: grads_MK}
        if stage.plateau is not None:
            state.buffers |= plateau.start(stage.plateau, state.members, state.learner.device)
    state.start_optimiser(stage)
    epoch_loop = EpochLoop(state, stage, task, images, task_stream)
    epochs = stage.optim.epochs if epoch_loop.pool_MN.shape[1] else 0
    for epoch in range(state.cursor.epoch, epochs):
        report = epoch_loop.run(epoch, after_step)
        if stage.after_epoch is not None:
            stage.after_epoch(state.learner, state.buffers)
        state.cursor.epoch = epoch + 1
        if not after_epoch(report) or report.last:
            break
    state.optimiser = None
    state.learner.network.requires_grad_(True)


class _Batch(NamedTuple):
    """Images of one step, and what is cut from them, every member's own."""

    index_MB: Tensor
    labels_MB: Tensor
    crops_MB5: Tensor

    def behind(self, other: "_Batch") -> "_Batch":
        """The images of another, then these."""
        return _Batch(*(torch.cat(both, 1) for both in zip(other, self, strict=True)))

    def cut(self, span: slice) -> "_Batch":
        """Some of the images."""
        return _Batch(self.index_MB[:, span], self.labels_MB[:, span], self.crops_MB5[:, span])


class EpochLoop:
    """The images and random streams of a stage's epochs."""

    def __init__(
        self, state: State, stage: Stage, task: TaskContext, images: TaskImages, task_stream: TaskStream
    ) -> None:
        self.state, self.stage, self.task, self.task_stream = state, stage, task, task_stream
        self.pool_MN = stage.pool(images)
        self.set_aside_N = None if stage.plateau is None else stage.plateau.set_aside(images)
        self.labels_MN = task_stream.train_labels_N[self.pool_MN].cpu()
        self.forward = stage.forward or partial(_with_teacher, state.configs[0].method, 2 if stage.mixup else 1)
        self.learner = state.folded(network="net" in stage.evaluates)
        """for forward passes"""
        self.head = state.learner.network.classifier
        rows = [p for name, p in self.head.named_parameters() if name in {"weight_MKD", "bias_MK"}]
        self.kept_rows = [(p, p.detach()[:, : stage.frozen_rows].clone()) for p in rows if stage.frozen_rows]

    def run(self, epoch: int, after_step: Callable[[], None]) -> EpochReport:
        """Train an epoch, from the step under the cursor. After each step the state is one that can be resumed."""
        state, optim = self.state, self.stage.optim
        started = time.perf_counter() - state.epoch_s
        lr = self.stage.learning_rate(epoch)
        assert state.optimiser is not None
        for group in state.optimiser.param_groups:
            group["lr"] = lr * (group["lr_factor"] if epoch >= self.stage.lr_factor_from else 1)
        for network in (state.learner.network, self.learner.network):
            network.train()
            for part in self.stage.evaluates:
                network.get_submodule(part).eval()
        streams = MemberStreams(state.learner.seeds, (self.task.index, self.stage.name, epoch))
        order_MN = self.stage.sampler(self.labels_MN, streams)
        epoch_images = self._draw(order_MN, streams, "augment")
        views = self._draw(order_MN, streams, "augment-view") if self.stage.two_views else None
        mix = self.stage.mix if self.stage.mix and self.stage.mix.active(epoch) else None
        if mix is not None:
            partners = self._draw(mix.partners(self.labels_MN, streams), streams, "augment-partner")
            batches = math.ceil(self.labels_MN.shape[1] / optim.batch_size)
            boxes_MS4 = mix.uniforms(streams, batches).to(state.learner.device)
        sums = state.sums
        images = epoch_images.index_MB.shape[1]
        steps = math.ceil(images / optim.batch_size)
        mixup = Mixup.drawn(streams, images, steps, state.learner.device) if self.stage.mixup else None
        for number in range(state.cursor.step, steps):
            span = slice(number * optim.batch_size, (number + 1) * optim.batch_size)
            batch = epoch_images.cut(span)
            share = batch.labels_MB.shape[1] / images
            if views is not None:
                batch = views.cut(span).behind(batch)
            box = (partners.cut(span), boxes_MS4[:, number]) if mix else None
            terms, hits_now_M = self.step(batch, epoch, box, mixup.batch(number, span) if mixup else None)
            for name, value_M in terms.items():
                sums[name] = sums.get(name, 0) + value_M.detach() * share
            sums[_HITS] = sums.get(_HITS, 0) + hits_now_M
            state.cursor.step, state.epoch_s = number + 1, time.perf_counter() - started
            after_step()
        hits_M = sums.pop(_HITS)
        state.sums, state.cursor.step, state.epoch_s = {}, 0, 0.0
        rates, last = self._slow_down(epoch)
        return EpochReport(
            task=self.task.index,
            stage=self.stage.name,
            epoch=epoch,
            epochs=optim.epochs,
            steps=steps,
            lr=lr,
            terms={name: total_M.tolist() for name, total_M in sums.items()},
            train_acc_pct=(hits_M * (100 / images / (1 + self.stage.two_views))).tolist(),
            wall_s=time.perf_counter() - started,
            rates=rates,
            last=last,
        )

    def _slow_down(self, epoch: int) -> tuple[tuple[float, ...] | None, bool]:
        """The rates of the epoch that has been trained, and whether none of the next is above 0."""
        state, stage = self.state, self.stage
        if stage.plateau is None or self.set_aside_N is None:
            return None, False
        rates = state.buffers[plateau.RATE].tolist()
        if len(self.set_aside_N):
            loss_M = self._loss_of(self.set_aside_N, epoch)
            plateau.after_epoch(stage.plateau, state.buffers, loss_M, stage.optim.lr, stage.optim.gamma)
        return tuple(rates), not any(state.buffers[plateau.RATE].tolist())

    @torch.no_grad()
    def _loss_of(self, index_N: Tensor, epoch: int) -> Tensor:
        """The stage's loss on images as they are evaluated, ``[M]``."""
        state, task_stream = self.state, self.task_stream
        for network in (state.learner.network, self.learner.network):
            network.eval()
        losses_M = []
        for index_B in index_N.split(self.stage.optim.batch_size):
            images = centre(task_stream.train_pixels_NCHW, index_B, state.configs[0].data, state.learner.dtype)
            with state.autocast():
                out = self.forward(self.learner, repeat_images(images, state.members))
            labels_MB = task_stream.train_labels_N[index_B].expand(state.members, -1)
            terms = self.stage.loss(Step(out, labels_MB, self.task, state.buffers, state.learner.network, epoch))
            losses_M.append(torch.stack(list(terms.values())).sum(0) * len(index_B))
        return torch.stack(losses_M).sum(0) / len(index_N)

    def _draw(self, order_MN: Tensor, streams: MemberStreams, use: str) -> _Batch:
        """The images of a whole epoch, in their order, and what is cut from each."""
        data, device = self.state.configs[0].data, self.state.learner.device
        uniforms_MNU = streams.uniform(use, order_MN.shape[1], uniforms_per_image(data)).to(device)
        height, width = self.task_stream.train_pixels_NCHW.shape[2:]
        index_MN = self.pool_MN.gather(1, order_MN.to(device))
        labels_MN = self.task_stream.train_labels_N[index_MN]
        return _Batch(index_MN, labels_MN, crops(uniforms_MNU, height, width, data))

    def _images(self, batch: _Batch) -> Tensor:
        state = self.state
        pixels, data = self.task_stream.train_pixels_NCHW, state.configs[0].data
        return augment(pixels, batch.index_MB, batch.crops_MB5, data, state.learner.dtype)

    def step(
        self, batch: _Batch, epoch: int, mixed: tuple[_Batch, Tensor] | None, blend: tuple[Tensor, Tensor] | None
    ) -> tuple[Terms, Tensor]:
        """One optimiser step of every member. Returns the terms and the hits, each ``[M]``."""
        state, stage = self.state, self.stage
        assert state.optimiser is not None
        images = self._images(batch)
        network = state.learner.network
        rate_M = state.buffers.get(plateau.RATE)
        slowed = None if rate_M is None else plateau.Slowed(network, rate_M)
        partner_MB = share_M = None
        if mixed is not None and stage.mix is not None:
            partner, boxes_M4 = mixed
            images, share_M = stage.mix.paste(images, self._images(partner), boxes_M4)
            partner_MB, share_M = partner.labels_MB, share_M.to(state.learner.dtype)
        if blend is not None:
            order_MB, share_M = blend[0], blend[1].to(state.learner.dtype)
            images = torch.cat([images, blended(images, order_MB, share_M)])
            partner_MB = batch.labels_MB.gather(1, order_MB)
        with state.autocast():
            out = self.forward(self.learner, images)
        blends = None
        if blend is not None:
            own = batch.labels_MB.shape[1]
            out, blends = out.images(slice(own), out.teacher), out.images(slice(own, None))
        step = Step(out, batch.labels_MB, self.task, state.buffers, network, epoch, partner_MB, share_M, blends)
        terms = stage.loss(step)
        state.optimiser.zero_grad()
        # The sum over members gives each of them exactly its own gradient.
        torch.stack([value_M.sum() for value_M in terms.values()]).sum().backward()
        if stage.adjust_grads is not None:
            stage.adjust_grads(step)
        if self.head.weight_MKD.grad is not None:
            norm_MK = self.head.weight_MKD.grad.norm(dim=2)
            state.buffers[HEAD_GRAD].add_(norm_MK if rate_M is None else norm_MK * (rate_M > 0).unsqueeze(1))
        if stage.optim.clip_norm is not None:
            clip_by_member(list(network.parameters()), stage.optim.clip_norm)
        state.optimiser.step()
        if slowed is not None:
            slowed.apply()
        with torch.no_grad():  # weight decay and momentum move frozen rows without a gradient too
            for parameter, kept in self.kept_rows:
                parameter[:, : stage.frozen_rows] = kept
        if stage.after_step is not None:
            stage.after_step(network)
        return terms, (out.logits_MBK.detach().argmax(2) == batch.labels_MB).sum(1)


def _with_teacher(method: Method, parts: int, learner: Learner, images: Tensor) -> Outputs:
    """The network's outputs, and its teacher's of the first of so many parts of the images if there is one."""
    teacher = None
    if TEACHER in learner.frozen:
        with torch.no_grad():
            teacher = method.outputs(learner.frozen[TEACHER], images[: len(images) // parts])
    return method.outputs(learner.network, images)._replace(teacher=teacher)


@torch.no_grad()
def clip_by_member(parameters: list[torch.nn.Parameter], largest: float) -> None:
    """Scale each member's gradient down to norm ``largest`` where it exceeds it."""
    grads = [p.grad for p in parameters if p.grad is not None]
    norm_M = torch.stack([g.reshape(len(g), -1).square().sum(1) for g in grads]).sum(0).sqrt()
    scale_M = (largest / norm_M.clamp_min(1e-6)).clamp_max(1)
    for grad in grads:
        grad.mul_(scale_M.view(-1, *[1] * (grad.dim() - 1)))
