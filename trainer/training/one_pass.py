"""One pass: runs that differ only in their seed and in per-member hyperparameters, trained on the same tasks."""

import math
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch

from trainer.config.run_config import RunConfig
from trainer.data.tasks import Task, TaskStream
from trainer.errors import ConfigError, TrainingStopped
from trainer.results.history import History, run_result
from trainer.results.rows import RunResult
from trainer.rng import MemberStreams
from trainer.stages import second_stage as stage2
from trainer.stages.exemplars import Candidates, herding, random, reduce
from trainer.stages.stage import TaskContext, TaskImages
from trainer.training import checkpoint as ckpt
from trainer.training import plateau
from trainer.training.evaluate import embed, embed_augmented, measure
from trainer.training.loop import HEAD_GRAD, EpochReport, train_stage
from trainer.training.observer import MemberReport, Observer
from trainer.training.options import DeviceOptions
from trainer.training.state import Cursor, State, new_learner


class Pass:
    """Members of one pass: a state and what belongs to it. A position is that of a run in ``configs``."""

    def __init__(
        self,
        configs: list[RunConfig],
        options: DeviceOptions,
        checkpoint: ckpt.CheckpointSlot | None,
        observer: Observer,
        task_stream: TaskStream,
    ) -> None:
        """``observer`` hears of steps, epochs and damaged checkpoints. Raises ConfigError if the configurations cannot
        be members of one pass, or their network has too few features for so many classes.
        """
        _check_together(configs)
        self.configs, self.options, self.checkpoint, self.observer = configs, options, checkpoint, observer
        self.run_ids = [config.run_id for config in configs]
        device, precision = options.resolve_device(), options.resolve_precision()
        self.task_stream = task_stream.to(device)
        self.tasks = len(self.task_stream.tasks)
        self.results: dict[int, RunResult] = {}
        """results of runs that have ended, by position"""
        channels = self.task_stream.train_pixels_NCHW.shape[1]
        self.state = State(configs, new_learner(configs, channels, device, precision), precision)
        _check_classes(configs[0], self.state.learner.network.net.features, self.task_stream)
        self.task_began = 0.0
        """when the task under the cursor would have begun without interruption, by ``time.perf_counter``"""
        self.saved = time.monotonic()
        """when the last checkpoint was written, or would have been"""

    def resume(self) -> bool:
        """Begin where the checkpoint ends, if there is one."""
        found = None if self.checkpoint is None else ckpt.load(self.checkpoint, self.observer.on_unreadable)
        if found is not None:
            self.state = ckpt.restore(self.state, found, self.run_ids, self.checkpoint)
            if self.state.cursor == Cursor(task=self.state.cursor.task):  # between tasks: who has diverged is out
                self.drop(())
        return found is not None

    @property
    def unfinished(self) -> bool:
        """Whether a member is left that has a task to train."""
        return self.state.cursor.task < self.tasks and self.state.members > 0

    def train_task(self) -> None:
        """Train the task under the cursor, choose exemplars, measure, and move the cursor on."""
        state, task_stream, config = self.state, self.task_stream, self.state.configs[0]
        method, task = config.method, task_stream.tasks[state.cursor.task]
        self.task_began = time.perf_counter() - state.elapsed_s
        if state.learner.network.classifier.classes == task.first:
            state.learner.network.grow(task.classes, state.learner.seeds, task.index)
        if self.options.compile:
            state.learner.network.net.compile(dynamic=True)
        context, images = self._context(task), self._images(task)
        stages = method.plan(context)
        if config.second_stage is not None:
            stages = (*stages, stage2.stage(config.second_stage, context, method.evaluate, method.parts(1, 1)))
        for index, stage in enumerate(stages):
            if index >= state.cursor.stage:
                train_stage(state, stage, context, images, task_stream, self._after_step, self._after_epoch)
                own = {HEAD_GRAD, *plateau.BUFFERS}
                kept = {name: buffer for name, buffer in state.buffers.items() if name not in own}
                state.learner.method_state |= kept
                method.after_stage(stage, state.learner, images)
                state.cursor.stage, state.cursor.epoch = index + 1, 0
        images_memory = state.learner.exemplars_ME.shape[1]
        self._remember(task, images)
        if method.needs_teacher and task.index + 1 < self.tasks:
            state.learner.freeze_teacher()
        method.after_task(state.learner, self._images(task))
        self._measure(task, images_memory)
        state.buffers = {}
        state.cursor, state.elapsed_s = Cursor(task=task.index + 1), 0.0

    def _images(self, task: Task) -> TaskImages:
        state, task_stream = self.state, self.task_stream
        streams = MemberStreams(state.learner.seeds, (task.index,))
        return TaskImages(
            new_N=task.train_N,
            exemplars_ME=state.learner.exemplars_ME,
            labels_A=task_stream.train_labels_N,
            old=task.first,
            per_class=state.configs[0].memory.quota(task.first or task.classes),
            streams=streams,
            embed=lambda index: embed(state, task_stream.train_pixels_NCHW, index),
            embed_augmented=lambda index, use: embed_augmented(
                state, task_stream.train_pixels_NCHW, index, streams, use
            ),
        )

    def _context(self, task: Task) -> TaskContext:
        state, config = self.state, self.state.configs[0]
        counts_K = self.task_stream.counts_C[: task.first + task.classes].double()
        kept_K = counts_K.clone()
        kept_K[: task.first].clamp_(max=config.memory.quota(task.first))
        values = [member.method.model_dump(by_alias=True) for member in state.configs]
        hyperparameters = {
            name: torch.tensor([v[name] for v in values], device=state.learner.device, dtype=state.learner.dtype)
            for name in config.method.per_member_fields()
        }
        return TaskContext(
            index=task.index,
            old=task.first,
            new=task.classes,
            sizes=tuple(t.classes for t in self.task_stream.tasks[: task.index + 1]),
            members=state.members,
            counts_K=counts_K,
            kept_K=kept_K,
            hyperparameters=hyperparameters,
            optim=config.optim,
            dtype=state.learner.dtype,
            method_state=state.learner.method_state,
            split=state.learner.network.net.split(),
        )

    def _after_step(self) -> None:
        stop, every_s = self.observer.on_step(), self.options.checkpoint_every_s
        if stop or (every_s and time.monotonic() - self.saved >= every_s):
            self._save_within_task()
        if stop:
            raise TrainingStopped

    def _after_epoch(self, report: EpochReport) -> bool:
        state = self.state
        for member, position in enumerate(state.positions):
            history = state.histories[position]
            if report.ended(member):
                continue
            history.epochs.append(report.row(member))
            if history.status == "running" and not math.isfinite(report.loss[member]):
                history.status = "diverged"
                history.error = f"loss is not finite after epoch {report.epoch} of task {report.task}"
        self.observer.on_epoch(report)
        if all(state.histories[position].status == "diverged" for position in state.positions):
            return False
        done, every = report.epoch + 1, self.options.checkpoint_every_epochs
        if every and done % every == 0 and done < report.epochs:
            self._save_within_task()
        return True

    def _remember(self, task: Task, images: TaskImages) -> None:
        """Choose exemplars of the task's classes and put them behind those of the old ones, of which fewer may stay."""
        state, config = self.state, self.state.configs[0]
        quota = config.memory.quota(task.first + task.classes)
        keep = config.method.exemplars_per_class(quota) if quota else 0
        if config.memory.total is not None:
            state.learner.exemplars_ME = reduce(state.learner.exemplars_ME, self.task_stream.train_labels_N, keep)
        if keep <= 0:
            return
        index_n = config.method.exemplar_candidates(images)
        labels_n = self.task_stream.train_labels_N[index_n]
        candidates = Candidates.of(labels_n, task.first, task.first + task.classes)
        if config.memory.selection == "random":
            chosen_ME = random(candidates, keep, state.learner.seeds, task.index)
        else:
            chosen_ME = herding(images.embed(index_n).features_MND, candidates, keep)
        state.learner.exemplars_ME = torch.cat([state.learner.exemplars_ME, index_n[chosen_ME]], dim=1)

    def _measure(self, task: Task, images_memory: int) -> None:
        state, task_stream = self.state, self.task_stream
        seen = task.first + task.classes
        measured = measure(state, task_stream, seen)
        correct = {name: found_MK.tolist() for name, found_MK in measured.correct.items()}
        top5_MK = None if measured.top5_MK is None else measured.top5_MK.tolist()
        head_norm_MK = state.learner.network.classifier.weight_MKD.detach().norm(dim=2).tolist()
        steps_M = [
            max(1, sum(row.steps for row in state.histories[position].epochs if row.task == task.index))
            for position in state.positions
        ]
        grads_MK = state.buffers[HEAD_GRAD]
        grad_norm_MK = (grads_MK / torch.tensor(steps_M).to(grads_MK).unsqueeze(1)).tolist()
        wall_s = time.perf_counter() - self.task_began
        for member, position in enumerate(state.positions):
            history = state.histories[position]
            history.add_task(
                task_stream,
                {name: found_MK[member] for name, found_MK in correct.items()},
                head_norm_MK[member],
                grad_norm_MK[member],
                images_memory,
                state.configs[member].memory.quota(seen),
                wall_s,
                state.members,
                top5_K=None if top5_MK is None else top5_MK[member],
                ece_pct=None if measured.bins is None else measured.bins.error_pct(member),
            )
            if task.index + 1 == self.tasks and history.status == "running":
                history.status = "finished"

    def reports(self, task: int) -> list[MemberReport]:
        """What became of the runs that were trained on a task; the same after a resume as when it was completed."""
        members = []
        for position, history in enumerate(self.state.histories):
            if task < len(history.tasks):
                diverged = history.status == "diverged" and task + 1 == len(history.tasks)
                status = "diverged" if diverged else "finished" if task + 1 == self.tasks else "running"
                members.append(MemberReport(position, status, history.tasks[task]))
        return members

    def drop(self, pruned: Collection[int]) -> bool:
        """Take members out that are pruned or diverged: nothing more is spent on them. Returns whether any went."""
        state = self.state
        for position in pruned:
            if state.histories[position].status == "running":
                state.histories[position].status = "pruned"
        stay = [m for m, p in enumerate(state.positions) if state.histories[p].status in ("running", "finished")]
        fewer = len(stay) < state.members
        if not stay:
            state.configs, state.positions = [], []
        elif fewer:
            self.state = state.subset(stay)
        return fewer

    def end(self, live: Collection[int]) -> dict[int, RunResult]:
        """The results, each returned once, of all runs that have ended: all but the ``live`` ones."""
        state, ended = self.state, {}
        for position, (config, history) in enumerate(zip(self.configs, state.histories, strict=True)):
            if position not in live and position not in self.results:
                ended[position] = run_result(
                    config, history, self.task_stream, state.learner.device, state.precision, len(self.configs)
                )
        self.results |= ended
        return ended

    def _save_within_task(self) -> None:
        self.state.elapsed_s = time.perf_counter() - self.task_began
        self.save()

    def save(self) -> None:
        """Write a checkpoint, if there is a slot for one and a member left."""
        self.saved = time.monotonic()
        if self.checkpoint is not None and self.state.members:
            self.checkpoint.write(ckpt.to_bytes(self.state, self.run_ids))

    def begin_behind_first_task(self, found: Mapping[str, Mapping[str, Any]]) -> None:
        """Begin behind the first task, of which ``found`` has the checkpoints by first task id."""
        parts = []
        for position, config in enumerate(self.configs):
            part = found[config.first_task_id]
            parts.append(part["tensors"])
            history = History.model_validate_json(part["histories"][0])
            if part["run_ids"] != [config.run_id]:
                for row in history.tasks:
                    row.saved_s, row.device_s, row.wall_s = row.device_s, 0.0, 0.0
            history.started_at = self.state.histories[position].started_at
            self.state.histories[position] = history
        self.state.load_tensors({name: torch.cat([part[name] for part in parts]) for name in parts[0]})
        self.state.cursor = Cursor(task=1)
        self.drop(())


def _check_classes(config: RunConfig, features: int, task_stream: TaskStream) -> None:
    classes, most = sum(task.classes for task in task_stream.tasks), config.method.most_classes(features)
    if most is not None and classes > most:
        problem = (
            f"{config.net.name} has {features} features, and {config.method.name} can learn {most} classes with them"
        )
        raise ConfigError(f"{problem}, not {classes}", field="net.name")


def _check_together(configs: Sequence[RunConfig]) -> None:
    if not configs:
        raise ConfigError("no configuration given")
    for config in configs[1:]:
        if not configs[0].trains_together_with(config):
            per_member = ", ".join(sorted(config.method.per_member_fields())) or "none"
            raise ConfigError(
                f"runs {configs[0].run_id} and {config.run_id} cannot be trained together: they differ in more than "
                f"the seed and per-member fields ({per_member})"
            )
