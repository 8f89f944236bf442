"""A sweep gives the same results whether it is left alone, killed, resumed or repeated."""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
import yaml

from benchmarks.kills import trial_processes
from support.pages import blocks
from support.sweeps import accuracies, files, launch, query, space_file, start, until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("one sweep that all are compared with")]


MEASURED = " per pack"


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, session_cluster: dict[str, str]) -> Path:
    """An undisturbed sweep's results."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in session_cluster.items():
            patch.setenv(name, value)
        output = launch(space_file(folder, concurrency=2), "--results", folder / "results")
    assert "[6/6]" in output
    assert MEASURED in output
    return folder / "results"


def test_a_sweep_stores_every_run(whole: Path) -> None:
    assert len(accuracies(whole)) == 12
    rows = query(whole, "SELECT count(*) AS n, min(task) AS first, max(task) AS last FROM tasks")
    assert rows == [{"n": 60, "first": 0, "last": 4}]
    (trial,) = query(whole, "SELECT * FROM runs WHERE trial = 3 AND seed = 1")
    assert trial["split"] == "validation"
    assert trial["method_alpha"] == json.loads(trial["params_json"])["method.alpha"]
    assert trial["optim_epochs"] == 4
    assert trial["versions"]
    assert query(whole, "SELECT count(*) AS n FROM epochs")[0]["n"] == 12 * 5 * 4


@pytest.mark.usefixtures("shared_cluster")
def test_the_first_task_is_trained_once_and_changes_nothing(whole: Path, tmp_path: Path) -> None:
    paid = query(whole, "SELECT trial, sum(saved_s) AS saved FROM tasks WHERE task = 0 GROUP BY trial ORDER BY trial")
    assert paid[0]["saved"] == 0
    assert all(row["saved"] > 0 for row in paid[1:])
    # A range that acts in the first task switches sharing off, and at the base's value changes nothing else.
    unshared = {"optim.lr": {"type": "float", "low": 0.05, "high": 0.06}}
    vary = yaml.safe_load(space_file(tmp_path).read_text())["vary"]
    first = [json.loads(p) for _, (p, _) in sorted(accuracies(whole).items()) if p][::2][:2]
    points = [point | {"optim.lr": 0.05} for point in first]
    file = space_file(tmp_path, vary=vary | unshared, first=points, trials=2)
    launch(file, "--results", tmp_path / "results")
    ours, theirs = accuracies(tmp_path / "results"), accuracies(whole)
    assert {key: acc for key, (_, acc) in ours.items()} == {key: theirs[key][1] for key in ours}


def test_a_killed_driver_loses_nothing_and_repeats_nothing(
    whole: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    results = tmp_path / "results"
    file = space_file(tmp_path)
    process = start(file, "--results", results)
    until(process, lambda: len(files(results)) >= 2)
    process.kill()
    process.communicate()
    stored = accuracies(results)
    assert 0 < len(stored) < 12
    request.getfixturevalue("shared_cluster")  # what the killed driver's own cluster left is of no use to it
    launch(file, "--results", results)
    assert accuracies(results) == accuracies(whole)
    assert query(results, "SELECT count(*) AS n FROM (SELECT DISTINCT trial, seed, task FROM tasks)")[0]["n"] == 60
    assert query(results, "SELECT count(*) AS n FROM tasks")[0]["n"] == 60
    assert not list((results / "s" / "checkpoints").glob("*/*.pt"))
    # Once more: nothing is left to do, and no cluster is needed.
    before = files(results)
    assert "6 of 6 configurations" in launch(file, "--results", results, "--address", "127.0.0.1:1")
    assert files(results) == before


def test_lost_processes_cost_what_they_had_not_finished(whole: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    process = start(space_file(tmp_path), "--results", results)
    until(process, lambda: bool(trial_processes(process.pid)))
    assert not (results / "s" / "packing.json").exists()
    os.kill(trial_processes(process.pid)[0], signal.SIGKILL)
    checkpoints = results / "s" / "checkpoints"
    until(process, lambda: any(checkpoints.rglob("*.pt")) and bool(trial_processes(process.pid)))
    os.kill(trial_processes(process.pid)[0], signal.SIGKILL)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert "set-up: its process was lost" in output
    assert "its process was lost; resuming" in output
    assert accuracies(results) == accuracies(whole)


@pytest.mark.usefixtures("shared_cluster")
def test_stored_runs_are_not_trained_again(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And each of them is told to the function that docs/other_tools.md shows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (code,) = [block.text for block in blocks("docs/other_tools.md", "python") if "on_event" in block.text]
    (tmp_path / "my_hooks.py").write_text(code)
    results = shutil.copytree(whole, tmp_path / "results")
    output = launch(space_file(tmp_path, name="other", notify="my_hooks:on_event"), "--results", results)
    *bests, ended = (tmp_path / "events.txt").read_text().splitlines()
    assert bests[0].startswith("other: new best: trial ")
    assert ended == "other: ended: finished, 6 of 6 configurations ended"
    rows = query(results, "SELECT sweep, sum(device_s) AS spent, sum(saved_s) AS saved FROM runs GROUP BY 1 ORDER BY 1")
    assert rows[0]["sweep"] == "other"
    assert rows[0]["spent"] == 0
    assert rows[0]["saved"] > 0
    assert "[6/6]" in output


@pytest.mark.usefixtures("shared_cluster")
def test_packs_are_measured_once_and_what_they_save_is_in_the_ledger(whole: Path, tmp_path: Path) -> None:
    results = shutil.copytree(whole, tmp_path / "results")
    chosen = (results / "s" / "packing.json").read_text()
    more = launch(space_file(tmp_path, concurrency=2), "--results", results, "--trials", "7")
    assert MEASURED not in more
    assert (results / "s" / "packing.json").read_text() == chosen
    rows = query(results, "SELECT device_s, packing_saved_s AS saved_s FROM runs")
    assert len(rows) == 14
    packing = json.loads(chosen)["packing"]
    if packing["step_s"] is None:  # on a busy machine the measurement may take too long to be made
        assert {row["saved_s"] for row in rows} == {None}
    else:
        gain = packing["alone_s"] * packing["members"] / packing["step_s"]
        assert [row["saved_s"] for row in rows] == pytest.approx([row["device_s"] * (gain - 1) for row in rows])
    saved_s = sum(row["saved_s"] or 0.0 for row in rows)
    assert query(results, "SELECT packing_s FROM ledger")[0]["packing_s"] == pytest.approx(saved_s)
    assert (" by packs" in more) == (round(saved_s) != 0), "on a busy machine they may save nothing, or cost time"
