"""Messages of workers arrive as they were sent, or are refused."""

import math

import pytest
from pydantic import ValidationError

from support.runs import tiny_run
from sweeper.execution.messages import (
    EndedTrial,
    Evicted,
    Failed,
    Interrupted,
    Message,
    PackingMeasured,
    PackingNotMeasured,
    PackSplit,
    SetUpDone,
    TaskDone,
    TrialsEnded,
    Warned,
    from_json,
    to_json,
)
from sweeper.execution.packing import Packing
from trainer.results.history import failed_result

MESSAGES: list[Message] = [
    PackingMeasured(packing=Packing(4, 12, 0.1, 0.3, 1 << 40)),
    PackingNotMeasured(reason="too few images"),
    SetUpDone(first_task_s=0.1 + 0.2),
    SetUpDone(first_task_s=None),
    TaskDone(pack="key", task=1, tasks=5, values={0: 100 / 3, 7: 0.0}),
    TrialsEnded(
        pack="key",
        attempt="a",
        ended=(EndedTrial(number=3, results=(failed_result(tiny_run("finetune"), "out of memory"),)),),
        training=True,
    ),
    PackSplit(pack="key"),
    Failed(reason="out of memory"),
    Interrupted(reason="No space left on device"),
    Evicted(reason="its node is being drained"),
    Warned(text="000001-a.pt: not a readable checkpoint"),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.kind)
def test_a_message_arrives_as_it_was_sent(message: Message) -> None:
    assert from_json(to_json(message)) == message


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_arrive(value: float) -> None:
    arrived = from_json(to_json(TaskDone(pack="key", task=0, tasks=5, values={0: value})))
    assert isinstance(arrived, TaskDone)
    assert repr(arrived.values[0]) == repr(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"kind": "no-such-message"}',
        '{"kind": "pack-split"}',
        '{"kind": "pack-split", "pack": 3}',
        '{"kind": "pack-split", "pack": "key", "more": 1}',
        '{"kind": "task-done", "pack": "key", "task": 0, "tasks": 5, "values": {"first": 1.0}}',
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        from_json(text)
