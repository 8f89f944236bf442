"""Methods compared in one sweep: stopped and resumed, packs and first tasks within a method, the winner promoted."""

import json
from pathlib import Path

import pytest

from support.sweeps import ended, launch, query, space_file
from trainer.config.files import load_run

NAME = "method.name"
THREE = ["finetune", "bic", "gradient_reweighting"]


@pytest.mark.slow
@pytest.mark.usefixtures("shared_cluster")
def test_three_methods_in_one_sweep(tmp_path: Path) -> None:
    results, runs = tmp_path / "results", tmp_path / "runs"
    distil = {"type": "float", "low": 0.1, "high": 2.0, "when": {NAME: THREE[1:]}}
    first = [{NAME: "bic", "method.lambda": 1.0}, {NAME: "bic", "method.lambda": 0.5}, {NAME: "finetune"}]
    vary = {NAME: {"type": "categorical", "choices": THREE}, "method.lambda": distil}
    file = space_file(tmp_path, vary=vary, first=first, resources={"pack": 2}, trials=5)
    launch(file, "--results", results, "--trials", "3")
    output = launch(file, "--results", results)
    assert "3 stored already" in output

    rows = query(results, "SELECT trial, seed, pack, method_name, method_alpha, params_json, status, saved_s FROM runs")
    assert len({(row["trial"], row["seed"]) for row in rows}) == len(rows) == 10
    assert {row["status"] for row in rows} == {"finished"}
    assert all(row["method_name"] == json.loads(row["params_json"])[NAME] for row in rows)
    assert {row["method_alpha"] for row in rows} <= {None, 1.0}  # the base's, where its method is tried
    by_pack = query(results, "SELECT count(DISTINCT method_name) AS n FROM runs WHERE pack IS NOT NULL GROUP BY pack")
    assert {row["n"] for row in by_pack} == {1}
    packs = {row["trial"]: row["pack"] for row in rows}
    assert packs[0] == packs[1] != packs[2]
    saved = {row["trial"]: row["saved_s"] for row in rows}
    assert (saved[0], saved[2]) == (0, 0)
    assert saved[1] > 0

    assert "finetune" in ended("s", "--results", results, command="sweeper.status")
    ended("s", "--results", results, "--out", tmp_path / "figures", command="sweeper.report")
    promote = ("--top", "1", "--seeds", "2", "--force", "--runs", runs)
    ended("s", "--results", results, *promote, command="sweeper.promote")
    (best,) = query(results, "SELECT params_json FROM best WHERE sweep = 's'")
    assert load_run(runs / "s.yaml").config.method.name == json.loads(best["params_json"])[NAME]
