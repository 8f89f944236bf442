"""A budget is kept: nothing is begun that would go beyond it, and a plan says what it has room for."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from support.drivers import Driver, driver
from support.results import result, store_trials
from support.sweeps import space_file
from sweeper import launch
from sweeper.execution.messages import EndedTrial, TrialsEnded
from sweeper.execution.packing import Packing
from sweeper.store.store import Store
from trainer.errors import exit_code

EACH_S = 1800.0
"""device seconds of a run; a configuration has two"""


def finish(own: Driver, trial_id: str, *numbers: int, device_s: float = EACH_S) -> None:
    runs = {n: (result(n, 0), result(n, 1)) for n in numbers}
    for run in (run for both in runs.values() for run in both):
        run.device_s = device_s
    ended = tuple(EndedTrial(number=n, results=both) for n, both in runs.items())
    own.sweep.receive(trial_id, TrialsEnded(pack=trial_id, attempt="a", ended=ended, training=False))


def test_no_configuration_begins_that_would_cost_too_much(tmp_path: Path) -> None:
    own = driver(tmp_path, packing=Packing(2), budget={"device_hours": 4.4})
    assert own.pack("a") == [0, 1]
    finish(own, "a", 0, 1)  # an hour each
    assert own.pack("b") == [2, 3]
    assert own.sweep.next_trial("c") is None  # as those in training may cost less
    finish(own, "b", 2, 3, device_s=EACH_S / 2)
    assert own.pack("c") == [4]  # three hours are spent, and 45 minutes a configuration
    finish(own, "c", 4)
    assert own.sweep.next_trial("d") is False
    assert own.sweep.progress.status.device_s == 4 * 3600


def test_no_pack_begins_that_would_end_too_late(tmp_path: Path) -> None:
    own = driver(tmp_path, packing=Packing(2), budget={"wall_hours": 1})
    own.sweep.progress.begin()
    assert own.pack("a") == [0, 1]
    own.clock.now += 1000
    own.sweep.progress.status.started_at -= 1000
    finish(own, "a", 0, 1)
    assert own.pack("b") == [2, 3]
    own.clock.now += 1700
    own.sweep.progress.status.started_at -= 1700
    finish(own, "b", 2, 3)
    assert own.sweep.next_trial("c") is False  # 900 s are left, and a pack takes 1350


def planned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0, **changes: Any
) -> tuple[str, str]:
    file = space_file(tmp_path, **{"trials": 9, **changes})
    words = [str(file), "--dry-run", "--results", str(tmp_path / "results"), *arguments]
    assert exit_code(lambda: launch.main(words)) == code
    return capsys.readouterr()


def test_a_plan_says_what_the_budget_has_room_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "the budget" not in planned(tmp_path, capsys)[0]
    store_trials(Store(tmp_path / "results", "s"), range(4))
    spent = sum(row["device_s"] for row in Store(tmp_path / "results", "s").read(["device_s"]).to_pylist())
    enough = f"budget.device_hours={6.5 * spent / 4 / 3600}"
    out, _ = planned(tmp_path, capsys, "--set", enough)
    assert "the budget has room for about 6 of 9 configurations" in out
    plan = json.loads(planned(tmp_path, capsys, "--set", enough, "--json")[0])
    assert plan["affordable"] == 6
    low, high = plan["affordable_interval"]
    assert low <= 6 <= high


def test_a_cost_is_device_hours_and_a_time_is_wall_hours(tmp_path: Path) -> None:
    now = datetime.now().astimezone()
    arguments = launch.parser().parse_args(["s.yaml", "--max-cost", "42", "--price", "2.1"])
    assert launch.limits(arguments) == {"budget.device_hours": pytest.approx(20)}
    later = now + timedelta(hours=2)
    for text in (f"{later:%H:%M:%S}", later.isoformat(), f"{later:%Y-%m-%dT%H:%M:%S}"):
        hours = launch.limits(launch.parser().parse_args(["s.yaml", "--by", text]))["budget.wall_hours"]
        assert hours == pytest.approx(2, abs=0.01)
    before = now - timedelta(hours=2)
    hours = launch.limits(launch.parser().parse_args(["s.yaml", "--by", f"{before:%H:%M:%S}"]))["budget.wall_hours"]
    assert hours == pytest.approx(22, abs=1.1)  # tomorrow, which may be an hour longer


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--by", "six"], "'six' is not a time; allowed: 18:00, 2030-01-31T18:00"),
        (["--by", "2020-01-31T18:00"], "'2020-01-31T18:00' has passed"),
        (["--max-cost", "-3", "--price", "1"], "'-3' is not an amount"),
        (["--max-cost", "3"], "--max-cost: needs --price as well"),
        (["--price", "3"], "--price: needs --max-cost as well"),
    ],
)
def test_limits_that_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(exit_code(lambda: launch.main([str(space_file(tmp_path)), *arguments])))
    assert ended.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
