"""A promotion that is stopped says so in a line, releases its results, and resumes when it is run again."""

import signal
from pathlib import Path

import pytest
import yaml

from support.sweeps import ROOT, ended, launch, start

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("shared_cluster")]


def test_a_stopped_promotion_is_one_line_and_resumes(tmp_path: Path) -> None:
    space = tmp_path / "s.yaml"
    content = {
        "base": str(ROOT / "runs" / "digits_lfs5.yaml"),
        "set": {"optim.epochs": 4, "optim.milestones": [3]},
        "vary": {"method.lambda": {"type": "float", "low": 0.05, "high": 5.0}},
        "trials": 1,
    }
    space.write_text(yaml.safe_dump(content))
    assert "1 of 1 configurations" in launch(space, "--results", tmp_path / "results")

    promote = ("s", "--results", tmp_path / "results", "--runs", tmp_path / "runs", "--seeds", "2")
    process = start(*promote, command="sweeper.promote")
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first.startswith("retraining the top 1 of 1")
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=60)
    assert rest.startswith("stopped: ")
    assert rest.count("\n") == 1
    assert process.returncode == 128 + signal.SIGTERM

    again = ended(*promote, command="sweeper.promote", code=1)  # one candidate, two seeds: no evidence
    assert again.startswith(first), "the results are still held"
    assert "trial 0 leads" in again
