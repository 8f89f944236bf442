"""What every method promises. A file that is put beside the others is held to all of it before a test is written."""

import functools
import itertools
import math
import random
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from support.methods import others, together
from support.runs import FEW_IMAGES, accuracies, losses, timeless, tiny_run
from support.tails import natural_source
from trainer.config.files import dump_run, load_run
from trainer.config.run_config import RunConfig
from trainer.data.tasks import cut
from trainer.errors import TrainingStopped
from trainer.methods.base import METHODS
from trainer.results.rows import RunResult
from trainer.training.checkpoint import from_bytes
from trainer.training.loop import EpochReport
from trainer.training.observer import Observer, TaskReport
from trainer.training.options import DeviceOptions
from trainer.training.session import train

every_method = pytest.mark.parametrize("name", METHODS.names())
CPU = DeviceOptions(device="cpu")
EXACT = DeviceOptions(device="cpu", precision="float64")


def config(name: str, hyperparameters: dict[str, Any] | None = None, **changes: Any) -> RunConfig:
    return tiny_run(name, hyperparameters, **{"data": FEW_IMAGES, **changes})


class Kept:
    """A checkpoint in memory that remembers all it was given."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def read(self) -> bytes | None:
        return self.written[-1] if self.written else None

    def write(self, content: bytes) -> None:
        self.written.append(content)

    def discard(self) -> None:
        self.written.pop()


@functools.cache
def alone(name: str) -> RunResult:
    """The method's defaults, undisturbed."""
    return train([config(name)], CPU)[0]


# -- it trains -------------------------------------------------------------------------------------------

CASES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "batches without some classes": {"optim": {"batch_size": 3, "epochs": 1}},
    "first task alone": {"protocol": {"tasks": 1}, "optim": {"epochs": 1}},
    "tasks of one class": {"protocol": {"tasks": 10}, "optim": {"epochs": 1}},
    "tasks smaller than a batch": {"optim": {"batch_size": 256}},
    "one exemplar a class": {"memory": {"per_class": 1}},
    "no exemplars": {"memory": {"per_class": 0}},
    "more places than images": {"memory": {"per_class": 50}},
    "a total of exemplars": {"memory": {"total": 25}, "protocol": {"tasks": 5}, "optim": {"epochs": 1}},
    "balanced, half of the classes first": {
        "data": {**FEW_IMAGES, "imbalance": {"order": "balanced", "max_per_class": 4}},
        "protocol": {"kind": "lfh", "tasks": 2},
        "optim": {"epochs": 1},
    },
    "random exemplars, clipped, warmed up": {
        "memory": {"selection": "random"},
        "optim": {"clip_norm": 1.0, "warmup_epochs": 2, "milestones": [1]},
    },
}


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from numbers(inner)
    elif isinstance(value, int | float):
        yield value


@every_method
@pytest.mark.parametrize("case", CASES)
def test_everything_measured_is_finite(name: str, case: str) -> None:
    wanted = config(name, **CASES[case])
    result = alone(name) if case == "defaults" else train([wanted], CPU)[0]
    phases = wanted.protocol.tasks + (wanted.protocol.kind == "lfh")
    assert (result.status, result.tasks_done) == ("finished", phases)
    assert all(math.isfinite(number) for number in numbers(timeless(result)))
    assert all(0 <= accuracy <= 100 for row in result.tasks for accuracy in row.acc_by_task_pct)
    assert all(row.terms for row in result.epochs)


@every_method
def test_a_natural_tail_is_learnt_and_measured_where_it_can_be(name: str) -> None:
    """Ten tasks of one class, the first of a single image: nothing is left to measure it on."""
    order = {"classes": tuple(reversed(range(10)))}
    data = {"imbalance": {"order": "balanced"}, "evaluation": {"split": "validation"}}
    wanted = config(name, data=data, protocol={"tasks": 10, "class_order": order}, optim={"epochs": 1})
    task_stream = cut(natural_source(test=False), wanted.data, wanted.protocol)
    (result,) = train([wanted], CPU, task_stream=task_stream)
    assert (result.status, result.tasks_done) == ("finished", 10)
    assert all(math.isfinite(number) for number in numbers(timeless(result)))
    first, *later = result.tasks
    assert (first.acc_by_task_pct, first.acc_task_mean_pct) == ([None], None)
    assert all(0 <= row.acc_task_mean_pct <= 100 for row in later if row.acc_task_mean_pct is not None)
    assert None not in [row.acc_task_mean_pct for row in later]
    assert None not in (result.acc_task_mean_pct, result.acc_few_pct, result.forgetting_pct)
    unmeasured = {row.class_name for row in result.classes if row.acc_pct is None}
    assert unmeasured == {"9"}
    assert result.splits == list(task_stream.said)


@every_method
def test_the_process_keeps_its_random_state(name: str) -> None:
    before = torch.get_rng_state(), np.random.get_state(legacy=False), random.getstate()
    train([config(name, protocol={"tasks": 2}, optim={"epochs": 1})], CPU)
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_equal(np.random.get_state(legacy=False), before[1])
    assert random.getstate() == before[2]


@every_method
def test_the_teacher_does_not_learn(name: str) -> None:
    checkpoint = Kept()
    train([config(name)], DeviceOptions(device="cpu", checkpoint_every_epochs=1), checkpoint=checkpoint)
    seen = [from_bytes(content, "memory") for content in checkpoint.written]
    compared = 0
    for earlier, later in itertools.pairwise(seen):
        teachers = [
            {k: v for k, v in c["tensors"].items() if k.startswith("frozen/teacher/")} for c in (earlier, later)
        ]
        if earlier["cursor"]["task"] == later["cursor"]["task"] and teachers[0]:
            torch.testing.assert_close(teachers[1], teachers[0], rtol=0, atol=0)
            compared += 1
    assert bool(compared) == METHODS.find(name).needs_teacher


# -- members ---------------------------------------------------------------------------------------------


def members(name: str) -> list[RunConfig]:
    """Differing in the seed and in every field that members may differ in."""
    per_member = METHODS.find(name).per_member_fields()
    first, last = together(name, per_member), together(name, per_member, which=-1)
    assert first.keys() == last.keys() == per_member
    return [config(name, optim={"epochs": 1}), *(config(name, h, seed=1, optim={"epochs": 1}) for h in (first, last))]


@functools.cache
def fused(name: str) -> list[RunResult]:
    return train(members(name), EXACT)


def assert_same_numbers(found: list[RunResult], expected: list[RunResult]) -> None:
    assert accuracies(found) == accuracies(expected)
    for one, other in zip(losses(found), losses(expected), strict=True):
        for terms, wanted in zip(one, other, strict=True):
            assert terms == pytest.approx(wanted, rel=0, abs=1e-9)


@every_method
def test_fused_equals_alone(name: str) -> None:
    singles = [train([member], EXACT)[0] for member in members(name)]
    assert_same_numbers(fused(name), singles)
    assert [result.members for result in fused(name)] == [3, 3, 3]


@every_method
def test_a_pruned_member_leaves_the_others_as_they_are(name: str) -> None:
    class PruneFirst(Observer):
        def on_task(self, report: TaskReport) -> Collection[int]:
            return [0] if report.task == 0 else []

    pruned, *others_ = train(members(name), EXACT, observer=PruneFirst())
    assert (pruned.status, len(pruned.tasks)) == ("pruned", 1)
    assert_same_numbers(others_, fused(name)[1:])


# -- stopped and continued -------------------------------------------------------------------------------


class Killed(Exception):
    pass


class StopAfterSteps(Observer):
    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_step(self) -> bool:
        self.steps -= 1
        return self.steps == 0


class KillInTask(Observer):
    def __init__(self, task: int) -> None:
        self.task = task

    def on_epoch(self, report: EpochReport) -> None:
        if report.task == self.task:
            raise Killed


def resumed(
    configs: list[RunConfig], options: DeviceOptions, killers: Iterator[Observer]
) -> tuple[list[RunResult], int]:
    """The results of a run that is killed or stopped again and again, and how often it was."""
    checkpoint = Kept()
    for kills, killer in enumerate(killers):
        try:
            return train(configs, options, checkpoint=checkpoint, observer=killer), kills
        except (Killed, TrainingStopped):
            continue
    return train(configs, options, checkpoint=checkpoint), kills + 1


@functools.cache
def two_seeds(name: str) -> tuple[list[RunConfig], list[RunResult]]:
    configs = [config(name, seed=seed) for seed in (0, 1)]
    return configs, train(configs, CPU)


@every_method
def test_resumed_after_a_task_equals_uninterrupted(name: str) -> None:
    configs, whole = two_seeds(name)
    found, kills = resumed(configs, CPU, iter([KillInTask(1), KillInTask(2)]))
    assert kills == 2
    assert [timeless(r) for r in found] == [timeless(r) for r in whole]


@every_method
def test_resumed_within_a_task_equals_uninterrupted(name: str) -> None:
    configs = [config(name, optim={"batch_size": 6}, seed=seed) for seed in (0, 1)]
    whole = train(configs, CPU)
    # Within epochs and at their ends, through however many stages.
    found, stops = resumed(configs, CPU, map(StopAfterSteps, itertools.cycle((1, 4, 2))))
    assert stops >= 4
    assert [timeless(r) for r in found] == [timeless(r) for r in whole]


# -- what the fields declare -----------------------------------------------------------------------------


def first_task(name: str, field: str) -> int:
    return max(task for task in range(3) if field in METHODS.find(name).fields_from_task(task))


class StopAfter(Observer):
    def __init__(self, tasks: int) -> None:
        self.tasks = tasks

    def on_task(self, report: TaskReport) -> Collection[int]:
        return range(len(report.members)) if report.task + 1 == self.tasks else ()


@every_method
def test_fields_change_nothing_before_the_task_they_act_from(name: str) -> None:
    for field, values in others(name).items():
        tasks = first_task(name, field)
        if tasks:
            (found,) = train([config(name, {field: values[0]})], CPU, observer=StopAfter(tasks))
            assert len(found.tasks) == tasks
            for table in ("tasks", "epochs", "classes"):
                own, plain = timeless(found)[table], timeless(alone(name))[table]
                assert own == [row for row in plain if row["task"] < tasks], field


@every_method
def test_the_first_tasks_alone_are_those_of_the_whole_run(name: str) -> None:
    (part,) = train([config(name, protocol={"stop_after": 2})], CPU)
    assert accuracies([part])[0] == accuracies([alone(name)])[0][:2]
    assert part.status == "finished"


@every_method
def test_a_shared_first_task_equals_an_unshared_one(name: str) -> None:
    slots: dict[str, Kept] = {}

    def first_task_checkpoint(first_task_id: str) -> Kept:
        return slots.setdefault(first_task_id, Kept())

    other = config(name, together(name, METHODS.find(name).fields_from_task(1)))
    (first,) = train([config(name)], CPU, first_task_checkpoint=first_task_checkpoint)
    (second,) = train([other], CPU, first_task_checkpoint=first_task_checkpoint)
    assert timeless(first) == timeless(alone(name))
    assert timeless(second) == timeless(train([other], CPU)[0])
    assert [len(slot.written) for slot in slots.values()] == [1]
    if other != config(name):
        assert second.saved_s > 0


@every_method
def test_a_run_file_holds_every_field(name: str, tmp_path: Path) -> None:
    for field, values in others(name).items():
        for value in values:
            wanted = config(name, {field: value})
            (tmp_path / "run.yaml").write_text(dump_run(wanted))
            found = load_run(tmp_path / "run.yaml").config
            assert found == wanted
            assert found.run_id == wanted.run_id != config(name).run_id


@every_method
def test_the_method_and_its_fields_are_described(name: str) -> None:
    method = METHODS.find(name)
    assert method.paper
    undescribed = [field for field, info in method.model_fields.items() if not info.description]
    assert not undescribed
    assert method.per_member_fields() <= set(others(name))
