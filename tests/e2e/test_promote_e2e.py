"""The best of a real sweep is promoted: stopped, killed in the middle, resumed, written, verified and drawn."""

import json
import signal
from itertools import accumulate
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from support.sweeps import ROOT, ended, files, launch, query, start, until
from sweeper.reporting.figures import draw
from sweeper.store.folder import Folder
from sweeper.store.results import open_results
from sweeper.store.sweep_file import read_space

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("shared_cluster")]

# The paper's lambda, and a value that is known to do better on digits.
SPACE: dict[str, Any] = {
    "base": str(ROOT / "runs" / "digits_lfs5.yaml"),
    "set": {"optim.epochs": 10, "optim.milestones": [8]},
    "vary": {"method.lambda": {"type": "float", "low": 0.05, "high": 5.0, "log": True}},
    "first": [{"method.lambda": 0.7}, {"method.lambda": 0.06}],
    "seeds": [0],
    "trials": 2,
}


def stored(results: Path) -> list[dict[str, Any]]:
    return query(results, "SELECT run_id, finished_at FROM runs WHERE sweep = 's-promotion' ORDER BY run_id")


def test_stopped_killed_promoted_verified_drawn(tmp_path: Path) -> None:
    results, runs = tmp_path / "results", tmp_path / "runs"
    space = tmp_path / "s.yaml"
    space.write_text(yaml.safe_dump(SPACE))
    launch(space, "--results", results)
    promote = ("s", "--results", results, "--runs", runs, "--seeds", "4")

    first = _stopped_in_a_line(promote)
    process = start(*promote, command="sweeper.promote")
    until(process, lambda: bool(files(results, "s-promotion")))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = stored(results)
    assert before

    output = ended(*promote, command="sweeper.promote")
    assert output.startswith(first), "the results are still held"
    assert "promoted: " in output
    after = stored(results)
    assert all(row in after for row in before), "a stored run was trained again"
    # Two candidates on validation, the leader and the base on test, four seeds each, each once.
    assert len(after) == len({row["run_id"] for row in after}) == 16

    file = runs / "s.yaml"
    provenance = yaml.safe_load(file.read_text())["provenance"]
    assert provenance["n"] == 4
    assert not set(provenance["seeds"]) & set(SPACE["seeds"])
    assert provenance["compared_with"]["difference_interval_pct"][0] > 0
    assert yaml.safe_load(file.read_text())["method"]["lambda"] == 0.06
    verified = ended(file, "--verify", command="trainer.run")
    assert "verified: acc_task_mean_pct" in verified
    told = ended("s-promotion", "--results", results, command="sweeper.status")
    assert "done: 4 of 4 configurations" in told

    _drawn(results, tmp_path / "figures")
    _again_against_itself(promote, file, results)
    assert "no configuration has finished" in _nothing_to_draw(tmp_path, results)
    _claims_that_do_not_hold(file)


def _stopped_in_a_line(promote: tuple[str | Path, ...]) -> str:
    """Returns what it says before it trains."""
    process = start(*promote, command="sweeper.promote")
    assert process.stdout is not None
    first = ""
    while "retraining the top 2 of 2" not in first:
        line = process.stdout.readline()
        assert line, first
        first += line
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=60)
    assert rest.startswith("stopped: ")
    assert rest.count("\n") == 1
    assert process.returncode == 128 + signal.SIGTERM
    return first


def _again_against_itself(promote: tuple[str | Path, ...], file: Path, results: Path) -> None:
    """Nothing is trained again, and equal is no evidence."""
    before, content = stored(results), file.read_bytes()
    output = ended(*promote, "--json", command="sweeper.promote", code=1)
    decision = json.loads(output[output.index("{\n") :])  # behind what goes to standard error
    jsonschema.validate(decision, json.loads((ROOT / "docs" / "schemas" / "promotion.json").read_text()))
    assert (decision["decision"], decision["forced"], decision["n"]) == ("refused", False, 4)
    assert stored(results) == before
    assert file.read_bytes() == content
    decisions = query(results, "SELECT decision, n FROM promotions ORDER BY decided_at")
    assert decisions == [{"decision": "promoted", "n": 4}, {"decision": "refused", "n": 4}]


def _claims_that_do_not_hold(file: Path) -> None:
    """Ten points off, in each of two seeds; and of a metric that there is not."""
    content = yaml.safe_load(file.read_text())
    claimed = list(content["provenance"]["by_seed_pct"].items())[:2]
    content["provenance"]["by_seed_pct"] = {seed: value - 10 for seed, value in claimed}
    file.write_text(yaml.safe_dump(content))
    assert "not verified: the means differ by 10.000" in ended(file, "--verify", command="trainer.run", code=1)
    file.write_text(file.read_text().replace("acc_task_mean_pct", "acc_task_mean"))
    ended(file, "--verify", command="trainer.run", code=2)


def _drawn(results: Path, out: Path) -> None:
    drawn = draw(read_space(Folder.at(results).child("s")), open_results(results))
    dimension, growth, searched, tested = drawn.axes
    assert dimension.get_xlabel() == "method.lambda"
    assert dimension.get_xscale() == "log"
    best, *points = (list(line.get_ydata()) for line in growth.get_lines() if len(line.get_ydata()))
    assert best == list(accumulate((value for (value,) in points), max))
    assert [text.get_text() for text in searched.get_legend().get_texts()] == ["first (trial 0)", "best (trial 1)"]
    assert [text.get_text() for text in tested.get_legend().get_texts()] == ["the sweep's base", "trial 1"]
    ended("s", "--results", results, "--out", out, command="sweeper.report")
    assert (out / "s.png").read_bytes().startswith(b"\x89PNG")


def _nothing_to_draw(tmp_path: Path, results: Path) -> str:
    empty = tmp_path / "empty" / "s"
    empty.mkdir(parents=True)
    (empty / "space.yaml").write_bytes((results / "s" / "space.yaml").read_bytes())
    return ended("s", "--results", empty.parent, command="sweeper.report", code=2)
