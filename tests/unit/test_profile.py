"""The cost of a step, measured on real steps of every method with few images."""

import pytest
import torch

from support.runs import FEW_IMAGES, tiny_run
from trainer.config.run_config import RunConfig
from trainer.data.tasks import build
from trainer.methods.base import METHODS
from trainer.training.loop import EpochReport
from trainer.training.options import DeviceOptions
from trainer.training.profile import ProfileError, StepCost, StepTimer, few_images, profile_steps

CPU = DeviceOptions(device="cpu")


def profiled(configs: list[RunConfig]) -> StepCost:
    return profile_steps(configs, build(configs[0].data, configs[0].protocol), CPU)


@pytest.mark.parametrize("name", METHODS.names())
def test_every_method_can_be_profiled(name: str) -> None:
    found = profiled([tiny_run(name, seed=seed, data=FEW_IMAGES) for seed in range(3)])
    assert found.members == 3
    assert found.step_s > 0


def test_a_batch_may_have_fewer_images_than_there_are_classes() -> None:
    """BiC trains on none of the images that it sets aside."""
    assert profiled([tiny_run("bic", data=FEW_IMAGES, optim={"batch_size": 2})]).step_s > 0


def test_more_runs_take_more_memory_and_longer_steps() -> None:
    few, many = (profiled([tiny_run("finetune", seed=seed) for seed in range(m)]) for m in (1, 64))
    assert many.step_s > few.step_s
    if few.peak_bytes is not None and many.peak_bytes is not None:
        assert many.peak_bytes > few.peak_bytes


def test_a_learning_rate_that_makes_runs_diverge_does_not_matter() -> None:
    assert profiled([tiny_run("finetune", optim={"lr": 100.0, "weight_decay": 1.0})]).step_s > 0


def test_runs_that_no_learning_rate_keeps_finite_are_refused_in_one_line() -> None:
    config = tiny_run("distillation")
    endless = config.method.model_copy(update={"lambda_": 1e300})  # no run file may have it
    with pytest.raises(ProfileError, match=r"^no step of their last task could be timed: their losses are not finite$"):
        profiled([config.model_copy(update={"method": endless})])


def test_the_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    profiled([tiny_run("finetune", data=FEW_IMAGES)])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("tasks", [1, 2, 5])
def test_every_class_is_there_in_two_tasks_of_about_a_batch(tasks: int) -> None:
    config = tiny_run("finetune", data=FEW_IMAGES, protocol={"kind": "lfs", "tasks": tasks})
    whole = build(config.data, config.protocol)
    short = few_images(whole, 32)
    assert len(short.tasks) == min(2, tasks)
    shown = torch.cat([short.train_labels_N[task.train_N] for task in short.tasks])
    assert shown.unique().tolist() == list(range(10))
    assert (shown.diff() >= 0).all()
    assert [task.first for task in short.tasks][-1] == whole.tasks[-1].first
    assert all(16 <= len(task.train_N) <= 32 for task in short.tasks)
    assert short.eval_labels_N.tolist() == list(range(10))
    every = few_images(whole, 32, every_task=True)
    assert [(task.first, task.classes) for task in every.tasks] == [(task.first, task.classes) for task in whole.tasks]


def test_what_is_timed_is_the_last_task_warmed_up() -> None:
    watch = StepTimer(2)
    for task, wall_s in ((0, 9.0), (0, 9.0), (1, 9.0), (1, 0.2), (1, 0.1)):
        watch.on_epoch(EpochReport(task, "train", 0, 5, 2, 0.1, {}, [], wall_s))
    assert watch.step_s == [0.1, 0.05]
