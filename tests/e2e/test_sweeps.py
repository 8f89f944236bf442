"""Sweeps as users run them: real commands, a real Ray cluster, real Parquet, real kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweeper.query import open_results

ROOT = Path(__file__).parent.parent.parent
ENVIRONMENT = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
pytestmark = pytest.mark.slow


def space_file(folder: Path, **changes: Any) -> Path:
    """A search of seconds on digits."""
    content: dict[str, Any] = {
        "base": str(ROOT / "runs" / "digits_lfs5.yaml"),
        "set": {"optim.epochs": 4, "optim.milestones": [3], "data.imbalance.max_per_class": 40},
        "vary": {
            "method.alpha": {"type": "float", "low": 0.05, "high": 10.0, "log": True},
            "method.lambda": {"type": "float", "low": 0.05, "high": 5.0, "log": True},
        },
        "seeds": [0, 1],
        "search": {"sampler": "RandomSampler", "seed": 1},
        "trials": 6,
        "name": "s",
    }
    content = {k: v for k, v in (content | changes).items() if v is not None}
    file = folder / "s.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sweeper.launch", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def launch(*arguments: str | Path, code: int = 0) -> str:
    process = start(*arguments)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == code, output
    return output


def query(results: Path, sql: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = open_results(results).sql(sql).arrow().to_pylist()
    return rows


def accuracies(results: Path) -> dict[tuple[int, int], tuple[str, float]]:
    rows = query(results, "SELECT trial, seed, params_json, acc_task_mean_pct AS acc FROM trials ORDER BY ALL")
    assert len({(r["trial"], r["seed"]) for r in rows}) == len(rows), "a run is stored twice"
    return {(r["trial"], r["seed"]): (r["params_json"], r["acc"]) for r in rows}


def until(process: subprocess.Popen[str], happened: Callable[[], bool], timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not happened():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def parts(results: Path, table: str) -> int:
    return len(list((results / "s" / table).glob("part-*.parquet")))


def trial_processes() -> list[int]:
    found = subprocess.run(["pgrep", "-f", "ray::ImplicitFunc"], capture_output=True, text=True, check=False)
    return [int(pid) for pid in found.stdout.split()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed sweep's results."""
    folder = tmp_path_factory.mktemp("whole")
    output = launch(space_file(folder), "--results", folder / "results")
    assert "[6/6]" in output
    return folder / "results"


def test_a_sweep_stores_every_run(whole: Path) -> None:
    assert len(accuracies(whole)) == 12
    rows = query(whole, "SELECT count(*) AS n, min(task) AS first, max(task) AS last FROM tasks")
    assert rows == [{"n": 60, "first": 0, "last": 4}]
    (trial,) = query(whole, "SELECT * FROM trials WHERE trial = 3 AND seed = 1")
    assert trial["split"] == "validation"
    assert trial["method_alpha"] == json.loads(trial["params_json"])["method.alpha"]
    assert trial["optim_epochs"] == 4
    assert trial["versions"]
    assert query(whole, "SELECT count(*) AS n FROM epochs")[0]["n"] == 12 * 5 * 4


def test_the_first_task_is_paid_for_once_and_changes_nothing(whole: Path, tmp_path: Path) -> None:
    paid = query(whole, "SELECT trial, sum(saved_s) AS saved FROM tasks WHERE task = 0 GROUP BY trial ORDER BY trial")
    assert paid[0]["saved"] == 0
    assert all(row["saved"] > 0 for row in paid[1:])
    # A dimension that acts in the first task, with one choice, switches sharing off and changes nothing else.
    unshared = {"optim.lr": {"type": "categorical", "choices": [0.05]}}
    vary = yaml.safe_load(space_file(tmp_path).read_text())["vary"]
    first = [json.loads(p) for _, (p, _) in sorted(accuracies(whole).items()) if p][::2][:2]
    points = [point | {"optim.lr": 0.05} for point in first]
    file = space_file(tmp_path, vary=vary | unshared, first=points, trials=2)
    launch(file, "--results", tmp_path / "results")
    ours, theirs = accuracies(tmp_path / "results"), accuracies(whole)
    assert {key: acc for key, (_, acc) in ours.items()} == {key: theirs[key][1] for key in ours}


def test_a_killed_driver_loses_nothing_and_repeats_nothing(whole: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    file = space_file(tmp_path)
    process = start(file, "--results", results)
    until(process, lambda: parts(results, "trials") >= 2)
    process.kill()
    process.communicate()
    stored = accuracies(results)
    assert 0 < len(stored) < 12
    launch(file, "--results", results)
    assert accuracies(results) == accuracies(whole)
    assert query(results, "SELECT count(*) AS n FROM (SELECT DISTINCT trial, seed, task FROM tasks)")[0]["n"] == 60
    assert query(results, "SELECT count(*) AS n FROM tasks")[0]["n"] == 60
    assert not list((results / "s" / "checkpoints").glob("*/*.pt"))
    # And once more: nothing is left to do.
    before = {p: p.stat().st_mtime_ns for p in (results / "s").rglob("part-*")}
    launch(file, "--results", results)
    assert {p: p.stat().st_mtime_ns for p in (results / "s").rglob("part-*")} == before


def test_a_lost_trial_process_goes_on_from_its_last_task(whole: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    process = start(space_file(tmp_path), "--results", results)
    until(process, lambda: any((results / "s" / "checkpoints").glob("*/*.pt")) and bool(trial_processes()))
    os.kill(trial_processes()[0], signal.SIGKILL)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert "goes on from its last finished task" in output
    assert accuracies(results) == accuracies(whole)


def test_sigterm_stops_cleanly_and_a_second_launch_is_told_who_runs(tmp_path: Path) -> None:
    results = tmp_path / "results"
    file = space_file(tmp_path, trials=40)
    process = start(file, "--results", results)
    until(process, lambda: parts(results, "trials") >= 1)
    refused = launch(file, "--results", results, code=2)
    assert f"pid {process.pid}" in refused
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, output
    assert "stopped: " in output.splitlines()[-1]
    assert not (results / "s" / "lease.json").exists()
    changed = launch(file, "--results", results, "--set", "search.seed=2", code=2)
    assert "search.seed was 1, is 2" in changed
    assert changed.count("\n") == 1


def test_packs_prune_by_configuration(tmp_path: Path) -> None:
    results = tmp_path / "results"
    pruning = {"pruner": "SuccessiveHalvingPruner", "options": {"min_resource": 1, "reduction_factor": 2}}
    output = launch(
        space_file(tmp_path, pruning=pruning, resources={"cpu": 1, "pack": 3}, trials=9), "--results", results
    )
    rows = query(results, "SELECT trial, status, tasks_done FROM trials ORDER BY trial")
    assert len(rows) == 18
    pruned = [row for row in rows if row["status"] == "pruned"]
    assert pruned, output
    assert all(0 < row["tasks_done"] < 5 for row in pruned)
    assert all(row["tasks_done"] == 5 for row in rows if row["status"] == "finished")
    assert query(results, "SELECT count(DISTINCT pack) AS n FROM trials")[0]["n"] == 3


def test_a_diverging_configuration_stops_nothing_else(tmp_path: Path) -> None:
    results = tmp_path / "results"
    vary = {"optim.lr": {"type": "categorical", "choices": [0.05, 100.0]}}
    grid = {"sampler": "GridSampler", "options": {"search_space": {"optim.lr": [0.05, 100.0]}}}
    fields = {"set": {"method": {"name": "finetune"}, "optim.weight_decay": 1.0, "optim.milestones": [3]}}
    launch(space_file(tmp_path, vary=vary, search=grid, trials=2, **fields), "--results", results)
    rows = query(results, "SELECT optim_lr AS lr, status, error FROM trials ORDER BY ALL")
    assert [(row["lr"], row["status"]) for row in rows] == [(0.05, "finished")] * 2 + [(100.0, "diverged")] * 2
    assert "not finite" in rows[-1]["error"]


def test_what_the_store_holds_is_not_trained_again(whole: Path, tmp_path: Path) -> None:
    output = launch(space_file(tmp_path, name="other"), "--results", whole)
    rows = query(whole, "SELECT sweep, sum(device_s) AS spent, sum(saved_s) AS saved FROM trials GROUP BY 1 ORDER BY 1")
    assert rows[0]["sweep"] == "other"
    assert rows[0]["spent"] == 0
    assert rows[0]["saved"] > 0
    assert "[6/6]" in output


def test_promote_and_verify(tmp_path: Path) -> None:
    results, runs = tmp_path / "results", tmp_path / "runs"
    fields: dict[str, Any] = {"set": {"optim.epochs": 8, "optim.milestones": [6]}, "seeds": [0, 1, 2]}
    first = [{"method.alpha": 1.0, "method.lambda": 0.06}]
    launch(space_file(tmp_path, first=first, trials=3, **fields), "--results", results)
    promote: Sequence[str | Path] = ("-m", "sweeper.promote", "s", "--results", results, "--runs", runs, "--seeds", "3")

    def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=ROOT,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    forced = command(*promote, "--force")
    assert forced.returncode == 0, forced.stdout + forced.stderr
    file = runs / "s.yaml"
    provenance = yaml.safe_load(file.read_text())["provenance"]
    assert provenance["n"] == 3
    assert not set(provenance["seeds"]) & {0, 1, 2}
    verified = command("-m", "trainer.run", file, "--verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "is the claimed one for every seed" in verified.stdout
    # Again, against itself as the incumbent: nothing is trained again, and equal is no evidence.
    content = file.read_bytes()
    again = command(*promote)
    assert again.returncode == 1
    assert "refused" in again.stdout
    assert file.read_bytes() == content
    decisions = query(results, "SELECT decision, n FROM promotions ORDER BY decided_at")
    assert decisions == [{"decision": "promoted", "n": 3}, {"decision": "refused", "n": 3}]
    file.write_text(file.read_text().replace("acc_task_mean_pct", "acc_task_mean"))
    assert command("-m", "trainer.run", file, "--verify").returncode == 2
