"""The second stage after each method's own: what it may change, and what it must leave as it is."""

import functools
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from support.runs import FEW_IMAGES, accuracies, losses, timeless, tiny_run
from trainer.config.run_config import RunConfig
from trainer.methods.base import METHODS
from trainer.stages import second_stage as stage2
from trainer.stages.learner import TEACHER
from trainer.stages.stage import Stage, Step, TaskContext
from trainer.training import loop
from trainer.training.checkpoint import FileSlot, from_bytes
from trainer.training.loop import EpochReport
from trainer.training.observer import Observer
from trainer.training.options import DeviceOptions
from trainer.training.session import train
from trainer.training.sgd import Sgd
from trainer.training.state import State, new_learner, sgd

EXACT = DeviceOptions(device="cpu", precision="float64")
EPOCHS = 3
FACTORS = f"network/{stage2.PART}.scale_MK"
REHEARSAL = ["eeil", "icarl", "lucir", "podnet"]
every_method = pytest.mark.parametrize("name", METHODS.names())


def config(name: str, seed: int = 0, **changes: Any) -> RunConfig:
    sections = {"data": FEW_IMAGES, "optim": {"epochs": 1}, "stage2": {"epochs": EPOCHS}, **changes}
    return tiny_run(name, seed=seed, **sections)


def test_one_of_no_epochs_is_none() -> None:
    """So that a search can try systems with it and without."""
    (none,), (empty,) = (train([config("lucir", stage2=second)], EXACT) for second in (None, {"epochs": 0}))
    assert losses([empty]) == losses([none])
    assert accuracies([empty]) == accuracies([none])


@pytest.mark.parametrize(("name", "hyperparameters"), [("eql_v2", {}), ("gradient_reweighting", {"phi_reset": False})])
def test_what_a_method_accumulates_over_tasks_outlasts_it(
    name: str, hyperparameters: dict[str, Any], tmp_path: Path
) -> None:
    kept = []
    for second in (None, {"epochs": 1}):
        slot = FileSlot(tmp_path / str(second))
        run = tiny_run(name, hyperparameters, data=FEW_IMAGES, protocol={"tasks": 2}, stage2=second)
        train([run], EXACT, checkpoint=slot)
        tensors = from_bytes(slot.path.read_bytes(), slot)["tensors"]
        kept.append({name for name in tensors if name.startswith("method_state/")})
    assert kept[1] == kept[0] != set()


@dataclass
class Stretch:
    """One stage as it was trained."""

    stage: str
    task: int
    old: int
    seen: int
    before: dict[str, Tensor]
    after: dict[str, Tensor] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    """learning rates of the last epoch, by parameter"""
    evaluates: bool = False
    """whether the backbone was in evaluation mode"""
    teacher: tuple[Tensor, Tensor, Tensor] | None = None
    """logits that the loss saw, those of the teacher's head alone, and with the teacher's factors"""


@functools.cache
def stretches(name: str) -> tuple[Stretch, ...]:
    """All stages of a run of two seeds, in order."""
    found: list[Stretch] = []
    train_stage = loop.train_stage

    def watched(state: State, stage: Stage, task: TaskContext, *rest: Any) -> None:
        seen = Stretch(stage.name, task.index, task.old, task.seen, copied(state))

        def loss(step: Step) -> dict[str, Tensor]:
            assert state.optimiser is not None
            names_by_id = {id(p): n for n, p in state.learner.network.named_parameters()}
            seen.rates = {names_by_id[id(p)]: g["lr"] for g in state.optimiser.param_groups for p in g["params"]}
            seen.evaluates = not any(module.training for module in state.learner.network.net.modules())
            if step.out.teacher is not None and stage.forward is None:  # the last task's network, nothing beside it
                plain_MBm = state.learner.frozen[TEACHER].classifier(step.out.teacher.features_MBD)
                factors_MK = state.learner.frozen[TEACHER].get_parameter(FACTORS.removeprefix("network/"))
                seen.teacher = (step.out.teacher.logits_MBK, plain_MBm, plain_MBm * factors_MK.unsqueeze(1))
            return stage.loss(step)

        train_stage(state, replace(stage, loss=loss), task, *rest)
        seen.after = copied(state)
        found.append(seen)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainer.training.one_pass.train_stage", watched)
        train([config(name, seed=seed) for seed in (0, 1)], EXACT)
    return tuple(found)


def copied(state: State) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in state.tensors().items()}


def second_stages(name: str) -> list[Stretch]:
    return [stretch for stretch in stretches(name) if stretch.stage == "stage2"]


def head_rows(stretch: Stretch) -> list[str]:
    """The tensors of the head with a row a class."""
    return [n for n, t in stretch.before.items() if n.startswith("network/head.") and t.dim() > 1]


@every_method
def test_it_follows_the_method_in_every_task_for_its_own_epochs(name: str) -> None:
    assert [stretch.task for stretch in second_stages(name)] == [0, 1, 2]
    assert [stretch.task for stretch in stretches(name) if stretch.stage != "stage2"] == sorted(
        stretch.task for stretch in stretches(name) if stretch.stage != "stage2"
    )
    (found,) = train([config(name, protocol={"tasks": 1})], EXACT)
    rates = [row.lr for row in found.epochs if row.stage == "stage2"]
    assert rates == pytest.approx([0.05 * (1 + math.cos(math.pi * epoch / EPOCHS)) for epoch in range(EPOCHS)])


@every_method
def test_factors_begin_as_the_identity(name: str) -> None:
    for stretch in second_stages(name):
        factors_MK = stretch.before[FACTORS]
        assert factors_MK.shape == (2, stretch.seen)
        assert bool((factors_MK[:, stretch.old :] == 1).all())
    network = new_learner([config(name)], 1, torch.device("cpu"), "float64").network
    network.grow(3, [0], 0)
    out = network.eval()(torch.rand(4, 1, 8, 8, dtype=torch.float64))
    assert torch.equal(stage2.scaled(network, out).logits_MBK, out.logits_MBK)


@every_method
def test_the_methods_own_stages_leave_the_factors(name: str) -> None:
    for stretch in stretches(name):
        if stretch.stage != "stage2":
            assert torch.equal(stretch.before[FACTORS], stretch.after[FACTORS])


@every_method
def test_new_rows_and_all_factors_learn(name: str) -> None:
    for stretch in second_stages(name):
        assert bool((stretch.before[FACTORS] != stretch.after[FACTORS]).all())
        for key in head_rows(stretch):
            changed = stretch.before[key] != stretch.after[key]
            assert bool(changed[:, stretch.old :].flatten(2 if changed.dim() > 2 else 1).any(-1).all()), key
        for member in (0, 1):
            assert stretch.after[FACTORS][member].std() > 0


@every_method
def test_old_rows_stay_to_the_bit(name: str) -> None:
    for stretch in second_stages(name):
        assert head_rows(stretch)
        for key in head_rows(stretch):
            assert torch.equal(stretch.before[key][:, : stretch.old], stretch.after[key][:, : stretch.old]), key


@every_method
def test_backbone_and_statistics_and_frozen_networks_stay_to_the_bit(name: str) -> None:
    for stretch in second_stages(name):
        still = [
            n for n in stretch.before if n.startswith(("network/", "frozen/")) and not n.startswith("network/head.")
        ]
        still.remove(FACTORS)
        assert any("running_mean" in key for key in still)
        for key in still:
            assert torch.equal(stretch.before[key], stretch.after[key]), key
        assert stretch.evaluates


@every_method
def test_the_factors_learn_at_a_tenth_of_the_heads_rate_and_the_backbone_not_at_all(name: str) -> None:
    for stretch in second_stages(name):
        head = {rate for key, rate in stretch.rates.items() if key.startswith("head.")}
        assert len(head) == 1
        assert stretch.rates[FACTORS.removeprefix("network/")] == pytest.approx(head.pop() / 10)
        assert all(key.startswith(("head.", stage2.PART)) for key in stretch.rates)


def test_the_factors_may_learn_at_the_whole_rate_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in its authors' code in the first epoch."""
    rates: list[tuple[float, ...]] = []
    inner = Sgd.step

    def watched(self: Sgd) -> None:
        rates.append(tuple(group["lr"] for group in self.param_groups))
        inner(self)

    monkeypatch.setattr(Sgd, "step", watched)
    second = {"epochs": 3, "lr": 0.1, "scale_lr_factor": 0.1, "full_rate_epochs": 1}
    train([config("finetune", protocol={"tasks": 1}, stage2=second)], EXACT)
    first, *later = sorted({pair for pair in rates if len(pair) == 2}, reverse=True)
    assert first == pytest.approx((0.1, 0.1))
    assert len(later) == 2
    for head, factors in later:
        assert factors == pytest.approx(head / 10)


@pytest.mark.parametrize("name", [*REHEARSAL, "distillation"])
def test_the_teacher_speaks_without_factors(name: str) -> None:
    taught = [s.teacher for s in stretches(name) if s.task and s.stage != "stage2"]
    assert len(taught) >= 2
    for teacher in taught:
        assert teacher is not None
        seen, plain, with_factors = teacher
        assert torch.equal(seen, plain)
        assert not torch.allclose(seen, with_factors)


@pytest.mark.parametrize("name", ["lucir", "podnet"])
def test_the_scale_of_cosines_learns_too(name: str) -> None:
    for stretch in second_stages(name):
        before, after = stretch.before["network/head.scale_M"], stretch.after["network/head.scale_M"]
        assert bool((before != after).all())


def test_means_of_exemplars_are_the_same_with_it() -> None:
    """The backbone stands still, so that the first task's means, and what they say, do too."""
    with_it, without = (
        train([config("icarl", stage2=second, protocol={"tasks": 1}, optim={"epochs": 4})], EXACT)[0]
        for second in ({"epochs": EPOCHS}, None)
    )
    assert with_it.tasks[0].acc_by_task_pct == without.tasks[0].acc_by_task_pct
    assert with_it.epochs[-1].stage == "stage2"


@pytest.mark.parametrize("name", ["lucir", "podnet"])
def test_old_rows_stay_in_the_first_stage_as_well(name: str) -> None:
    assert METHODS.find(name).needs_teacher
    for stretch in stretches(name):
        key = "network/head.weight_MKD"
        assert torch.equal(stretch.before[key][:, : stretch.old], stretch.after[key][:, : stretch.old])
        assert not torch.equal(stretch.before[key][:, stretch.old :], stretch.after[key][:, stretch.old :])


AWKWARD: dict[str, dict[str, Any]] = {
    "tasks of one class": {"protocol": {"tasks": 10}, "stage2": {"epochs": 1}},
    "no exemplars": {"memory": {"per_class": 0}},
    "batches without some classes": {"optim": {"epochs": 1, "batch_size": 3}},
    "tasks smaller than a batch, clipped": {"optim": {"epochs": 1, "batch_size": 256, "clip_norm": 0.1}},
}


@pytest.mark.parametrize("name", REHEARSAL)
@pytest.mark.parametrize("case", AWKWARD)
def test_awkward_tasks_are_finite(name: str, case: str) -> None:
    (found,) = train([config(name, **AWKWARD[case])], EXACT)
    assert found.status == "finished"
    assert {row.stage for row in found.epochs if row.task == 0} == {"train", "stage2"}
    assert all(math.isfinite(value) for row in found.epochs for value in row.terms.values())


class Stopped(Exception):
    pass


class StopAt(Observer):
    """Goes down when it hears an epoch of a task's second stage."""

    def __init__(self, task: int, epoch: int) -> None:
        self.when = (task, "stage2", epoch)

    def on_epoch(self, report: EpochReport) -> None:
        if (report.task, report.stage, report.epoch) == self.when:
            raise Stopped


class Kept:
    """A checkpoint in memory."""

    content: bytes | None = None

    def read(self) -> bytes | None:
        return self.content

    def write(self, content: bytes) -> None:
        self.content = content

    def discard(self) -> None:
        self.content = None


@pytest.mark.parametrize("name", REHEARSAL)
def test_stopped_within_it_and_resumed_equals_uninterrupted(name: str) -> None:
    configs, checkpoint = [config(name, seed=seed) for seed in (0, 1)], Kept()
    options = replace(EXACT, checkpoint_every_epochs=1)
    with pytest.raises(Stopped):
        train(configs, options, checkpoint=checkpoint, observer=StopAt(1, EPOCHS - 1))
    resumed, whole = train(configs, options, checkpoint=checkpoint), train(configs, EXACT)
    assert [timeless(found) for found in resumed] == [timeless(found) for found in whole]


def test_clipping_sees_no_gradient_of_the_stage_before() -> None:
    """With the backbone's last gradients in the norm, the head would learn less."""
    run = config("finetune")
    network = new_learner([run], 1, torch.device("cpu"), "float64").network
    network.grow(3, [0], 0)
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    sgd(network, Stage("any", run.optim, lambda step: {}, trains=("head.",)))
    assert all(parameter.grad is None for parameter in network.parameters())
