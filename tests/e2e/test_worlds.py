"""A sweep in worlds as users run it: killed, resumed, promoted in worlds that it has not seen, verified."""

import json
import signal
from pathlib import Path

import pytest
import yaml

from support.sweeps import ended, files, launch, query, space_file, start, until
from sweeper.search.space_file import load_space
from trainer.training.options import DeviceOptions
from trainer.training.session import train

CPU = DeviceOptions(device="cpu")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("shared_cluster")]


def test_killed_resumed_promoted_verified(tmp_path: Path) -> None:
    space = space_file(
        tmp_path,
        vary={"method.lambda": {"type": "float", "low": 0.05, "high": 5.0, "log": True}},
        seeds=None,
        repetitions={"worlds": 2},
        trials=3,
        resources={"pack": 1},
    )
    results = tmp_path / "results"
    process = start(space, "--results", results)
    until(process, lambda: bool(files(results)))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert "3 configurations x 2 worlds" in launch(space, "--results", results)
    of_runs = "SELECT trial, world, params_json, acc_task_mean_pct AS acc FROM runs ORDER BY trial, world"
    runs = query(results, of_runs)
    assert [(row["trial"], row["world"]) for row in runs] == [(t, w) for t in range(3) for w in ("0", "1")]
    configs = load_space(space).configs(json.loads(runs[0]["params_json"]))
    assert [row["acc"] for row in runs[:2]] == [result.acc_task_mean_pct for result in train(configs, CPU)]

    promote = ("s", "--results", results, "--runs", tmp_path, "--name", "p", "--top", "1", "--worlds", "2", "--force")
    output = ended(*promote, command="sweeper.promote")
    assert "in fresh worlds 1000-1001, seed 1000" in output
    file = tmp_path / "p.yaml"
    assert yaml.safe_load(file.read_text())["provenance"]["worlds"] == ["2000", "2001"]
    assert "matches the recorded value for every world and seed" in ended(file, "--verify", command="trainer.run")
