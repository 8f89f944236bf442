"""A table of the paper as its command makes it: trained through Ray, answered from the store, tuned, drawn."""

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from support.sweeps import ended, query

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("shared_cluster")]

SMALL = ("--data", "digits", "--epochs-scale", "0.1", "--set", "data.imbalance.max_per_class=20")


def table(results: Path, *arguments: str, code: int = 0) -> str:
    out = ("--results", results, "--out", results.parent / "out")
    return ended(*arguments, *SMALL, *out, command="benchmarks.paper", code=code)


def test_a_table_is_trained_once(tmp_path: Path) -> None:
    results = tmp_path / "results"
    asked = ("table3", "--only", "DAKD alone,DAKD + GR", "--seeds", "0,1")
    assert "to train  digits lfs5: DAKD alone (2 epochs a task)" in table(results, *asked, "--dry-run")
    assert not results.exists()

    output = table(results, *asked)
    assert "training 2 of 2 cells" in output
    assert "REDUCED, not the paper's table: epochs x 0.1; data.imbalance.max_per_class=20; 2 seeds" in output
    runs = query(results, "SELECT run_id, finished_at FROM runs ORDER BY run_id")
    assert len(runs) == 4

    again = table(results, *asked)
    assert not re.search(r"^training \d", again, re.MULTILINE)
    assert query(results, "SELECT run_id, finished_at FROM runs ORDER BY run_id") == runs
    assert output[output.index("Table 3") :] == again[again.index("Table 3") :]

    out = tmp_path / "out"
    assert {file.name for file in out.iterdir()} == {f"table3.{kind}" for kind in ("md", "parquet", "png", "svg")}
    means = query(results, "SELECT method_group, avg(acc_task_mean_pct) AS acc FROM runs GROUP BY 1 ORDER BY 1 DESC")
    rows = pq.read_table(out / "table3.parquet").to_pylist()
    assert [row["mean"] for row in rows] == pytest.approx([mean["acc"] for mean in means])
    assert [(row["row"], row["n"], row["seeds"]) for row in rows] == [
        ("DAKD alone", 2, [0, 1]),
        ("DAKD + GR", 2, [0, 1]),
    ]
    assert f"| DAKD alone | {rows[0]['mean']:.2f} ± {rows[0]['std']:.2f} (2)" in (out / "table3.md").read_text()

    more = table(results, *asked[:-1], "0,1,2")
    assert "training 2 of 2 cells" in more
    after = query(results, "SELECT run_id, finished_at FROM runs ORDER BY run_id")
    assert len(after) == 6, "only the seed that was missing is trained"
    assert all(run in after for run in runs)


def test_systems_are_tuned_and_tested_on_fresh_seeds(tmp_path: Path) -> None:
    results = tmp_path / "results"
    asked = ("table1", "--tuned", "--only", "finetune", "--trials", "2", "--seeds", "0,1")
    output = table(results, *asked)
    assert "seeds 2000 to 2001" in output
    tested = query(results, "SELECT config_id, seed, split, optim_lr FROM runs WHERE sweep = 'paper-table1'")
    (best,) = query(results, "SELECT params_json, sweep FROM best WHERE sweep LIKE 'paper-tuned-%'")
    searched = query(results, f"SELECT seed, split FROM runs WHERE sweep = '{best['sweep']}'")
    assert [(row["seed"], row["split"]) for row in searched] == [(0, "validation")] * 2
    assert {row["split"] for row in tested} == {"test"}
    assert {row["seed"] for row in tested} == {2000, 2001}
    chosen = json.loads(best["params_json"])["optim.lr"]
    assert {row["optim_lr"] for row in tested} == {0.05, chosen}

    rows = {row["row"]: row for row in pq.read_table(tmp_path / "out" / "table1-tuned.parquet").to_pylist()}
    assert json.loads(rows["finetune, tuned"]["params_json"]) == {"optim.lr": chosen}
    assert rows["finetune"]["params_json"] is None
    again = table(results, *asked)
    assert not re.search(r"^training \d", again, re.MULTILINE)
    assert output[output.index("Table 1") :] == again[again.index("Table 1") :]
