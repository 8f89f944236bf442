"""What programs read: JSON of the commands that keeps its schema, and sweeps in Python that answer the same."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from support.results import store_trials
from support.sweeps import space_file
from sweeper import launch, open_sweep, query, report, status
from sweeper.search.space_file import load_space
from sweeper.store.lease import Lease
from sweeper.store.status_file import Best, Running, Status
from sweeper.store.store import Store
from sweeper.store.sweep_file import check_unchanged
from trainer.errors import StoreError, exit_code

ROOT = Path(__file__).parents[2]
Printed = Callable[..., Any]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two sweeps: s, of which three configurations have ended and one is in training, and one that says nothing."""
    store = Store(tmp_path / "results", "s")
    check_unchanged(load_space(space_file(tmp_path)), store.folder, None, "images")
    store_trials(store, range(3), method="gradient_reweighting")
    running = [Running(3, {"method.alpha": 0.5}, 1, 5, float("nan")), Running(4, {})]
    best = Best(2, 88.5, {"method.alpha": 2.5})
    Status(6, done=3, pruned=1, running=running, best=best, eta_s=60.0).write(store.folder)
    store_trials(Store(tmp_path / "results", "silent"), [0])
    return tmp_path / "results"


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Printed:
    """What a command prints on standard output, which must be JSON as programs read it: without NaN."""

    def run(command: Any, *words: str | Path, code: int = 0) -> Any:
        assert exit_code(lambda: command.main([str(word) for word in words])) == code

        def refuse(constant: str) -> None:
            raise AssertionError(constant)

        return json.loads(capsys.readouterr().out, parse_constant=refuse)

    return run


def check(answer: Any, schema: str) -> None:
    found = json.loads((ROOT / "docs" / "schemas" / f"{schema}.json").read_text())
    assert set(found["required"]) == set(answer), "every field is there"
    jsonschema.validate(answer, found)


def test_the_state_of_sweeps(results: Path, printed: Printed) -> None:
    with Lease.acquire(Store(results, "s").folder):
        one = printed(status, "s", "--json", "--results", results)
        assert open_sweep("s", results).status().model_dump(mode="json") == one
        every = printed(status, "--json", "--results", results)
    assert every[0] == one
    for answer in every:
        check(answer, "status")
    assert (one["state"], one["done"], one["total"], one["pruned"], one["left_s"]) == ("running", 3, 6, 1, 60.0)
    first = {"trial": 3, "params": {"method.alpha": 0.5}, "tasks_done": 1, "tasks": 5, "value": None}
    assert one["running"][0] == first
    assert one["best"] == {"trial": 2, "params": {"method.alpha": 2.5}, "value": 88.5}
    assert one["driver"]["alive"] is True
    assert (every[1]["state"], every[1]["driver"], every[1]["done"]) == ("unknown", None, None)
    assert printed(status, "s", "--json", "--results", results)["state"] == "interrupted"


def test_rows(results: Path, printed: Printed) -> None:
    words = ("SELECT trial, method.lambda, acc_task_mean_pct FROM seeds ORDER BY trial", "--results", results)
    rows = printed(query, *words, "--sweep", "s", "--json")
    assert rows == printed(query, *words, "--sweep", "s", "--format", "json")
    sweep = open_sweep("s", str(results))
    assert rows == sweep.sql(words[0]).rows()
    assert [row["trial"] for row in rows] == [0, 1, 2]
    assert sweep.sql("SELECT trial FROM seeds WHERE trial > $n", n=1).rows() == [{"trial": 2}]
    assert [(row["sweep"], row["trial"], row["seed"]) for row in sweep.runs().rows()] == [
        ("s", trial, seed) for trial in range(3) for seed in range(2)
    ]


def test_the_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str], printed: Printed) -> None:
    file = space_file(tmp_path)
    store_trials(Store(tmp_path / "results", "s"), range(2), device="cpu", torch_threads=4, precision="float32")
    words = (file, "--results", tmp_path / "results", "--dry-run")
    plan = printed(launch, *words, "--json")
    check(plan, "plan")
    assert (plan["trials"], plan["seeds"], plan["runs"], plan["stored"]) == (6, [0, 1], 12, 2)
    assert plan["shares_first_task"] is True
    assert [found["number"] for found in plan["configurations"]] == [0, 1, 2, 3, 4]
    assert any("stored ones did with 4" in note for note in plan["notes"])
    assert launch.main([str(word) for word in words]) == 0
    said = capsys.readouterr().out
    assert "6 configurations x 2 seeds = 12 runs" in said
    assert f"estimated cost: {plan['device_hours']:.2f} device hours ({plan['estimated_from']})" in said
    assert exit_code(lambda: launch.main([str(file), "--json"])) == 2
    assert capsys.readouterr().err == "error: --json: is the form of a plan; allowed: with --dry-run\n"


def test_a_sweep_in_python(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = open_sweep("s", results)
    best = sweep.best()
    assert best is not None
    assert (best.trial, best.metric, best.n) == (2, "acc_task_mean_pct", 2)
    assert sweep.name == "s"
    assert eval(repr(sweep)).status() == sweep.status()
    monkeypatch.setenv("CIL_RESULTS", str(results))
    assert open_sweep("s").runs().arrow().equals(sweep.runs().arrow())
    with pytest.raises(StoreError, match="no sweep 'z'"):
        open_sweep("z")
    assert sweep.report(tmp_path / "out", ["svg"]) == [f"{tmp_path}/out/s.svg"]
    assert report.main(["s", "--out", str(tmp_path / "command"), "--format", "svg"]) == 0
    assert (tmp_path / "out" / "s.svg").exists()
    assert (tmp_path / "command" / "s.svg").exists()


def test_a_sweep_without_a_finished_configuration_has_no_best(tmp_path: Path) -> None:
    store = Store(tmp_path, "s")
    check_unchanged(load_space(space_file(tmp_path)), store.folder, None, "images")
    assert open_sweep("s", tmp_path).best() is None
