"""docs/tutorial.ipynb: its cells run in order, as they are, and what its text says of them holds."""

import ast
import json
import os
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

from support.pages import ROOT, blocks
from support.sweeps import query
from sweeper.execution.cluster import AuthenticationTokenLoader

NOTEBOOK = "docs/tutorial.ipynb"


def run_cell(text: str, names: dict[str, Any]) -> None:
    """As Jupyter does, but in this process: an expression at the end is shown as text."""
    tree = ast.parse(text)
    shown = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, NOTEBOOK, "exec"), names)
    if shown is not None:
        print(eval(compile(shown, NOTEBOOK, "eval"), names))


@pytest.mark.slow
@pytest.mark.usefixtures("shared_cluster")
def test_its_cells_run_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)  # and back at the end: the notebook has a folder of its own
    AuthenticationTokenLoader.instance().reset_cache()  # of the cluster that the environment names
    names: dict[str, Any] = {}
    try:
        for block in blocks(NOTEBOOK, "python"):
            run_cell(block.text, names)
        figures = plt.get_fignums()
    finally:
        plt.close("all")
    assert len(figures) == 2
    assert all(40 < one.acc_task_mean_pct < 90 for one in names["results"])
    assert len({one.acc_task_mean_pct for one in names["results"]}) == 3

    results = Path(os.getcwd()) / "results"
    stored = "SELECT trial, count(*) AS n FROM runs WHERE sweep = 'tutorial' AND status = 'finished' GROUP BY 1"
    assert sorted(query(results, stored), key=lambda row: row["trial"]) == [{"trial": t, "n": 2} for t in range(6)]
    (decision,) = query(results, "SELECT decision, n, interval_low_pct AS low FROM promotions")
    assert decision["n"] == 4
    assert (decision["decision"] == "promoted") == (decision["low"] > 0) == (names["code"] == 0)
    assert Path("runs/tutorial.yaml").exists() == (names["code"] == 0)
    capsys.readouterr()


def test_it_is_stored_without_outputs() -> None:
    cells = json.loads((ROOT / NOTEBOOK).read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["id"] for cell in code if cell["outputs"] or cell["execution_count"] is not None] == []
