"""A long decoding says how far it is, a short one nothing."""

import io
import sys
import time
from collections.abc import Iterator

import pytest

from trainer.data.progress import counted


def slowly(clock: list[float], step_s: float) -> Iterator[int]:
    for number in range(100):
        clock[0] += step_s
        yield number


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def shown(clock: list[float], step_s: float) -> list[int]:
    with counted(slowly(clock, step_s), "birds (train)", 100) as items:
        return list(items)


@pytest.mark.parametrize(("step_s", "lines"), [(0.01, 0), (1.0, 3), (20.0, 50)])
def test_a_line_every_half_minute(
    clock: list[float], step_s: float, lines: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(clock, step_s) == list(range(100))
    told = capsys.readouterr().err.splitlines()
    assert len(told) == lines
    if step_s == 1.0:
        assert told[0].startswith("decoding birds (train): 31 of 100 images, 1 min left")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with counted(iter(range(3)), "birds", 3) as items:
        assert list(items) == [0, 1, 2]
    assert "birds" not in terminal.getvalue(), "nothing is shown for what takes no time"
