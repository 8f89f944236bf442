"""Configurations and sweeps that end early: by a signal, a pruner, divergence or an error."""

import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from support.sweeps import ROOT, ended, files, launch, query, space_file, start, until

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("shared_cluster")]


def test_sigterm_stops_cleanly_and_a_second_launch_names_the_first(tmp_path: Path) -> None:
    results = tmp_path / "results"
    file = space_file(tmp_path, trials=40)
    process = start(file, "--results", results)
    until(process, lambda: bool(files(results)))
    refused = launch(file, "--results", results, code=2)
    assert f"pid {process.pid}" in refused
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, output
    assert "stopped: " in output.splitlines()[-1]
    assert not (results / "s" / "lease.json").exists()
    changed = launch(file, "--results", results, "--set", "search.seed=2", code=2)
    assert "search.seed was 1, is 2" in changed
    assert changed.count("error: ") == 1


def test_packs_prune_by_configuration(tmp_path: Path) -> None:
    results = tmp_path / "results"
    pruning = {"pruner": "SuccessiveHalvingPruner", "options": {"min_resource": 1, "reduction_factor": 2}}
    output = launch(
        space_file(tmp_path, pruning=pruning, resources={"cpu": 1, "pack": 3}, trials=9), "--results", results
    )
    rows = query(results, "SELECT trial, status, tasks_done FROM runs ORDER BY trial")
    assert len(rows) == 18
    pruned = [row for row in rows if row["status"] == "pruned"]
    assert pruned, output
    assert all(0 < row["tasks_done"] < 5 for row in pruned)
    assert all(row["tasks_done"] == 5 for row in rows if row["status"] == "finished")
    assert query(results, "SELECT count(DISTINCT pack) AS n FROM runs")[0]["n"] == 3


def test_a_diverging_configuration_stops_nothing_else(tmp_path: Path) -> None:
    results = tmp_path / "results"
    vary = {"optim.lr": {"type": "categorical", "choices": [0.05, 100.0]}}
    grid = {"sampler": "GridSampler", "options": {"search_space": {"optim.lr": [0.05, 100.0]}}}
    fields = {"set": {"method": {"name": "finetune"}, "optim.weight_decay": 1.0, "optim.milestones": [3]}}
    launch(space_file(tmp_path, vary=vary, search=grid, trials=2, **fields), "--results", results)
    rows = query(results, "SELECT optim_lr AS lr, status, error FROM runs ORDER BY ALL")
    assert [(row["lr"], row["status"]) for row in rows] == [(0.05, "finished")] * 2 + [(100.0, "diverged")] * 2
    assert "not finite" in rows[-1]["error"]


BRITTLE = '''
from trainer.methods.base import Method, hyperparameter
from trainer.stages.stage import Step, Terms


class TooHeavyError(ArithmeticError):
    def __init__(self, what, limit):  # which pickle cannot make again
        super().__init__(f"{what} is too heavy")


class Brittle(Method):
    """Finetuning that breaks under a large weight."""

    paper = "none"

    weight: float = hyperparameter(1.0, per_member=True, first_task=1)
    """at which it breaks, if above 1"""

    def loss(self, step: Step) -> Terms:
        if step.task.old and float(step.task.hyperparameters["weight"].max()) > 1:
            raise TooHeavyError("this", 1)
        log_p_MBK = step.logits_MBK.log_softmax(2)
        return {"ce": -log_p_MBK.gather(2, step.labels_MB.unsqueeze(2)).squeeze(2).mean(1)}
'''


def brittle(tmp_path: Path, weights: list[float], **changes: Any) -> tuple[Path, Path]:
    """A copy of this project with a method that breaks, and a sweep of it."""
    copy = tmp_path / "copy"
    for folder in ("trainer", "sweeper"):
        shutil.copytree(ROOT / folder, copy / folder)
    (copy / "trainer" / "methods" / "brittle.py").write_text(BRITTLE)
    fields: dict[str, Any] = {
        "set": {"method": {"name": "brittle"}, "optim.epochs": 1, "optim.milestones": [], "protocol.tasks": 2},
        "vary": {"method.weight": {"type": "categorical", "choices": weights}},
        "search": {"sampler": "GridSampler", "options": {"search_space": {"method.weight": weights}}},
        "trials": len(weights),
    }
    return copy, space_file(tmp_path, **fields | changes)


def mend(copy: Path) -> None:
    (copy / "trainer" / "methods" / "brittle.py").write_text(BRITTLE.replace("> 1", "> 100"))


def test_a_configuration_that_raises_says_why_stops_nothing_else_and_is_tried_again(tmp_path: Path) -> None:
    results = tmp_path / "results"
    copy, file = brittle(tmp_path, [0.5, 2.0], retries=1, resources={"cpu": 1, "pack": 2})
    output = launch(file, "--results", results, root=copy)
    assert "TooHeavyError: this is too heavy; resuming" in output
    assert "TooHeavyError: this is too heavy; each is trained alone" in output
    assert re.search(r"weight 2: failed \(.*TooHeavyError: this is too heavy\)", output)
    rows = query(results, "SELECT params_json AS params, status, error FROM runs ORDER BY status DESC, seed")
    outcomes = [('{"method.weight": 0.5}', "finished")] * 2 + [('{"method.weight": 2.0}', "failed")] * 2
    assert [(row["params"], row["status"]) for row in rows] == outcomes
    assert rows[-1]["error"].endswith("TooHeavyError: this is too heavy")
    (command,) = re.findall(r"reproduce it: python -m trainer.run (\S+)", output)
    assert 'raise TooHeavyError("this", 1)' in ended(command, command="trainer.run", code=1, root=copy)
    mend(copy)
    assert "2 of 2 configurations" in launch(file, "--results", results, "--retry-failed", root=copy)
    assert query(results, "SELECT status, count(*) AS n FROM runs GROUP BY 1") == [{"status": "finished", "n": 4}]


def test_a_sweep_that_is_broken_stops_and_tries_all_again_after_the_mend(tmp_path: Path) -> None:
    results = tmp_path / "results"
    how: dict[str, Any] = {"retries": 0, "fail_fast": 2, "resources": {"cpu": 1, "pack": 1}}
    copy, file = brittle(tmp_path, [2.0, 3.0, 4.0], **how)
    output = launch(file, "--results", results, root=copy, code=1)
    assert output.splitlines()[-1].startswith("stopped: the first 2 configurations failed for the same reason: ")
    assert "TooHeavyError" in output.splitlines()[-1]
    assert "Traceback" not in output
    assert not files(results)
    mend(copy)
    assert "3 of 3 configurations" in launch(file, "--results", results, root=copy)
    assert query(results, "SELECT status, count(*) AS n FROM runs GROUP BY 1") == [{"status": "finished", "n": 6}]
