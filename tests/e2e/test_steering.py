"""A hand on a running sweep, through real commands: followed within seconds, restored after a kill, harmless."""

import json
import time
from pathlib import Path

import pytest

from support.sweeps import accuracies, ended, launch, query, space_file, start, until
from sweeper.search.space_file import load_space
from sweeper.search.study import Study
from sweeper.store.damage import Damage
from sweeper.store.folder import Folder
from sweeper.store.status_file import Status

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("shared_cluster")]

TAKEN_S = 5


def test_a_steered_and_killed_sweep_equals_an_undisturbed_and_steered_one(tmp_path: Path) -> None:
    results, folder = tmp_path / "results", Folder.at(tmp_path / "results").child("s")
    slow = {"optim.epochs": 80, "data.imbalance.max_per_class": 40}  # so that the driver looks before a trial has ended
    changes = {"set": slow, "seeds": [0], "trials": 1, "resources": {"cpu": 1, "pack": 1}}
    file = space_file(tmp_path, **changes)

    def steer(*words: str, code: int = 0) -> str:
        return ended("s", *words, "--results", results, command="sweeper.steer", code=code)

    def status() -> Status:
        return Status.read(folder, Damage()) or Status(0)

    def taken(count: int) -> bool:
        return query(results, "SELECT count(*) AS n FROM steering WHERE state = 'taken'")[0]["n"] == count

    driver = start(file, "--results", results)
    until(driver, lambda: bool(status().running))
    steer("add", "method.lambda=0.3", "method.alpha=1")
    steer("trials", "3")
    steer("pause")
    assert "the driver takes it within seconds" in steer("stop", "0")
    asked = time.monotonic()
    until(driver, lambda: taken(4))
    assert time.monotonic() - asked < TAKEN_S
    until(driver, lambda: status().done == 1 and not status().running)
    driver.kill()
    driver.communicate()
    killed_at = time.time()
    assert "paused by " in ended("s", "--results", results, command="sweeper.status")

    resumed = start(file, "--results", results)
    until(resumed, lambda: status().started_at > killed_at)
    before = accuracies(results)
    time.sleep(3)
    assert accuracies(results) == before, "a paused sweep resumes paused"
    assert "s      paused" in ended("--results", results, command="sweeper.status")
    steer("resume")
    output, _ = resumed.communicate(timeout=240)
    assert resumed.returncode == 0, output
    assert "no trial is started; to resume: python -m sweeper.steer s resume --results" in output
    assert "3 of 3 configurations: 1 pruned" in output
    assert "finished: nothing is left to steer" in steer("pause", code=2)

    found = {trial: (json.loads(params), acc) for (trial, _), (params, acc) in accuracies(results).items()}
    (added,) = query(results, "SELECT trial, requested_by AS who FROM steering WHERE action = 'add'")
    assert "@" in added["who"]
    assert query(results, "SELECT trial, status, tasks_done < 5 AS early FROM runs WHERE status <> 'finished'") == [
        {"trial": 0, "status": "pruned", "early": True}
    ]
    space = load_space(file, ("trials=3",))
    sampled = [suggestion.params for suggestion in iter(Study(space).ask, None)]
    points = [
        {"method.lambda": 0.3, "method.alpha": 1.0} if n == added["trial"] else own for n, own in enumerate(sampled)
    ]
    assert [params for _, (params, _) in sorted(found.items())] == points
    whole = space_file(tmp_path, **{**changes, "trials": 3}, first=points, concurrency=2, name="whole")
    launch(whole, "--results", tmp_path / "whole")
    undisturbed = {trial: acc for (trial, _), (_, acc) in accuracies(tmp_path / "whole").items()}
    del undisturbed[0], found[0]
    assert {trial: acc for trial, (_, acc) in found.items()} == undisturbed
