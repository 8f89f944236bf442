"""A process that is told to end keeps what it has trained."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.runs import FEW_IMAGES, tiny_run
from sweeper.execution import worker
from sweeper.execution.job import Job, pack_as_trial
from sweeper.execution.messages import Evicted, Message, TaskDone
from sweeper.execution.notice import Notice
from sweeper.execution.pruning import PruneDecisions
from sweeper.execution.worker import CrashError
from sweeper.search.space import Resources
from trainer.training.checkpoint import from_bytes


@pytest.fixture
def ended() -> Iterator[list[int]]:
    """The signals that would have ended this process, in which a notice listens."""
    found: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: found.append(number))
    Notice.listen()
    yield found
    signal.signal(signal.SIGTERM, before)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_only_training_keeps_a_process_from_ending_at_once(ended: list[int]) -> None:
    notice = Notice.of_process()
    terminate()
    with notice.heeded():
        terminate()  # images are still being read
        assert len(ended) == 2
        assert not notice.is_due()
        terminate()
        assert notice.is_due()
        assert len(ended) == 2
        terminate()
    terminate()
    assert len(ended) == 4


def trained(folder: Path, monkeypatch: pytest.MonkeyPatch, *, told_to_end: bool) -> list[Message]:
    """The messages of a trial, whose process is told to end once it has finished its first task."""
    messages: list[Message] = []

    def send(message: Message) -> None:
        messages.append(message)
        if told_to_end and isinstance(message, TaskDone):
            terminate()

    monkeypatch.setattr(worker, "send", send)
    pack = {4: [tiny_run("finetune", data=FEW_IMAGES, optim={"batch_size": 6}, seed=seed) for seed in (0, 1)]}
    # Ray Tune gives no trial more to a process that has raised.
    with pytest.raises(CrashError) if told_to_end else contextlib.nullcontext():
        worker.run_trial(pack_as_trial(pack), Job(str(folder), Resources(), "acc_task_mean_pct"))
    return messages


def values(messages: list[Message]) -> list[dict[int, float]]:
    return [message.values for message in messages if isinstance(message, TaskDone)]


def test_a_trial_that_is_told_to_end_resumes_at_its_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: list[int]
) -> None:
    whole = trained(tmp_path / "whole", monkeypatch, told_to_end=False)
    _, evicted = trained(tmp_path, monkeypatch, told_to_end=True)
    assert isinstance(evicted, Evicted)
    assert "told to end (SIGTERM)" in evicted.reason
    (file,) = (tmp_path / "checkpoints").glob("*/*.pt")
    assert from_bytes(file.read_bytes(), file)["cursor"] == {"task": 1, "stage": 0, "epoch": 0, "step": 1}
    assert ended == []
    Notice.listen()  # in another process
    assert values(trained(tmp_path, monkeypatch, told_to_end=False)) == values(whole)


def test_a_decision_may_be_fetched_again() -> None:
    """The trial of a node that hung fetches it when the node wakes up; so does the one that replaced it."""
    decisions = PruneDecisions()
    decisions.publish("pack", 1, [3])
    assert [decisions.fetch("pack", 1) for _ in range(2)] == [[3], [3]]
    assert decisions.fetch("pack", 0) == decisions.fetch("other", 1) == []
