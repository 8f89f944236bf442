"""A resumed sweep's study knows what the killed one knew, so that it prunes and suggests the same."""

import math
from pathlib import Path
from statistics import fmean

import pytest

from support.drivers import driver
from support.runs import tiny_run
from sweeper.execution.job import Job
from sweeper.execution.messages import EndedTrial, Message, TaskDone, TrialsEnded
from sweeper.execution.packing import Packing
from sweeper.execution.restore import stored_trials
from sweeper.execution.sweep import WAIT
from sweeper.execution.trial import train_pack
from sweeper.search.outcome import Goals
from sweeper.search.space import Resources
from trainer.config.run_config import RunConfig
from trainer.results.rows import RunResult
from trainer.training.session import train

METRIC = "acc_task_mean_pct"
TASKS = 3


class Killed(Exception):
    """Stands for SIGKILL: whoever raises it has done nothing since."""


def pack() -> dict[int, list[RunConfig]]:
    """Trial 4 with two seeds."""
    return {4: [tiny_run("finetune", seed=seed) for seed in (0, 1)]}


def train_until(job: Job, end: int | None) -> list[Message]:
    """The messages of a worker that is killed before it can report task ``end``; None: it is not."""
    messages: list[Message] = []

    def report(message: Message) -> None:
        if isinstance(message, TaskDone) and message.task == end:
            raise Killed
        messages.append(message)

    if end is None:
        train_pack(job, pack(), report)
        return messages
    with pytest.raises(Killed):
        train_pack(job, pack(), report)
    return messages


def values_of(messages: list[Message]) -> dict[int, float]:
    """By task."""
    return {message.task: message.values[4] for message in messages if isinstance(message, TaskDone)}


@pytest.mark.parametrize("shares", [False, True], ids=["own first task", "shared first task"])
@pytest.mark.parametrize("end", [1, 2])
def test_a_resumed_worker_reports_the_tasks_that_it_had_completed(tmp_path: Path, end: int, shares: bool) -> None:
    whole = train_until(Job(str(tmp_path / "whole"), Resources(), METRIC, shares), None)
    job = Job(str(tmp_path / "killed"), Resources(), METRIC, shares)
    train_until(job, end)
    resumed = train_until(job, None)
    assert values_of(resumed) == values_of(whole)
    assert sorted(values_of(whole)) == list(range(int(shares), TASKS))


def results(values_ST: list[list[float]], status: str) -> tuple[RunResult, ...]:
    """A trial's runs, made from a real one: the metric by seed and task."""
    (real,) = train([tiny_run("finetune")])
    found = []
    for seed, value_T in enumerate(values_ST):
        rows = [row.model_copy(update={METRIC: v}) for row, v in zip(real.tasks, value_T, strict=False)]
        last = value_T[-1] if status == "finished" else None
        own = {"run_id": str(seed), "seed": seed, "status": status, "tasks": rows, "tasks_done": len(rows)}
        found.append(real.model_copy(update={**own, METRIC: last}))
    return tuple(found)


@pytest.mark.parametrize("shares", [False, True], ids=["own first task", "shared first task"])
@pytest.mark.parametrize("status", ["finished", "pruned", "diverged"])
def test_a_restored_study_is_told_what_the_first_one_was(tmp_path: Path, status: str, shares: bool) -> None:
    values_ST = [[90.0, 80.0, 70.0], [91.0, 82.0, 73.0]] if status == "finished" else [[90.0, 80.0], [91.0, 82.0]]
    own = driver(tmp_path, packing=Packing(1), reuses_first_tasks=shares)
    own.pack("a")
    tasks = len(values_ST[0])
    for task in range(int(shares), tasks):
        lost = status == "diverged" and task + 1 == tasks
        mean = math.nan if lost else fmean(value_T[task] for value_T in values_ST)
        own.sweep.receive("a", TaskDone(pack="key", task=task, tasks=TASKS, values={0: mean}))
    ended = (EndedTrial(number=0, results=results(values_ST, status)),)
    own.sweep.receive("a", TrialsEnded(pack="key", attempt="a", ended=ended, training=False))
    live = own.study.steps.get(0, {})
    assert stored_trials(own.store, Goals(METRIC), first_task=int(shares))[0].steps == live


def test_an_answer_from_the_store_is_told_task_by_task_too(tmp_path: Path) -> None:
    values_ST = [[90.0, 80.0, 70.0], [91.0, 82.0, 73.0]]
    own = driver(tmp_path, packing=Packing(1), lookup=lambda run_ids: list(results(values_ST, "finished")))
    assert own.sweep.next_trial("a") is False  # every configuration is answered
    assert own.study.steps[0] == {0: 90.5, 1: 81.0, 2: 71.5}
    assert stored_trials(own.store, Goals(METRIC))[0].steps == own.study.steps[0]


def test_a_task_that_is_reported_again_is_decided_as_before(tmp_path: Path) -> None:
    """A worker that dies between a decision and its next checkpoint trains that task again."""
    own = driver(tmp_path, packing=Packing(1))
    own.study.answers = [True, False]
    own.pack("a")
    for _ in range(2):
        own.sweep.receive("a", TaskDone(pack="key", task=0, tasks=TASKS, values={0: 10.0}))
    assert own.published == [[0], [0]]


def test_a_retried_pack_may_report_trials_that_have_ended(tmp_path: Path) -> None:
    own = driver(tmp_path, packing=Packing(2))
    assert own.pack("a") == [0, 1]
    own.sweep.receive("a", TaskDone(pack="key", task=0, tasks=TASKS, values={0: 10.0, 1: 20.0}))
    ended = (EndedTrial(number=0, results=results([[10.0]], "pruned")),)
    own.sweep.receive("a", TrialsEnded(pack="key", attempt="a", ended=ended, training=True))
    own.sweep.receive("a", TaskDone(pack="key", task=0, tasks=TASKS, values={0: 10.0, 1: 20.0}))
    own.sweep.receive("a", TaskDone(pack="key", task=1, tasks=TASKS, values={1: 30.0}))
    assert own.study.steps == {0: {0: 10.0}, 1: {0: 20.0, 1: 30.0}}


def test_a_pack_whose_process_is_lost_is_given_to_the_next_trial(tmp_path: Path) -> None:
    own = driver(tmp_path, packing=Packing(2), trials=2)
    assert own.pack("a") == [0, 1]
    assert own.sweep.next_trial("b") is WAIT
    own.sweep.interrupted("a", "process", "its process was lost")
    assert own.pack("c") == [0, 1]
    assert own.store.trials() == set()


def test_a_worker_computes_in_the_precision_of_its_resources(tmp_path: Path) -> None:
    messages = train_until(Job(str(tmp_path), Resources(precision="bfloat16"), METRIC), None)
    ended = [ended for message in messages if isinstance(message, TrialsEnded) for ended in message.ended]
    assert {result.precision for one in ended for result in one.results} == {"bfloat16"}
