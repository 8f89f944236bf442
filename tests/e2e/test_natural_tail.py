"""A folder of photos without splits, with a tail of its own: searched at the defaults."""

from pathlib import Path

import pytest
import yaml

from support.sweeps import launch, query
from support.tails import natural_source, save

pytestmark = pytest.mark.slow


def test_a_folder_with_a_natural_tail_is_searched_at_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIL_CACHE", str(tmp_path / "cache"))
    save(natural_source(), tmp_path / "photos")
    run = {
        "data": {"source": "image_folder", "path": str(tmp_path / "photos"), "crop": 8, "normalise": "half"},
        "net": {"name": "small"},
        "method": {"name": "gradient_reweighting"},
        "optim": {"epochs": 1, "milestones": []},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(run))
    alpha = {"type": "float", "low": 0.05, "high": 10.0, "log": True}
    space = {"base": "mine.yaml", "vary": {"method.alpha": alpha}, "trials": 2}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(space))
    printed = launch(tmp_path / "s.yaml", "--results", tmp_path / "results").splitlines()
    said = [line for line in printed if line.startswith(("test: ", "validation: "))]
    assert [line.partition(":")[0] for line in said] == ["test", "validation"]
    assert all(line.endswith("none of class kind 9") for line in said)
    rows = query(tmp_path / "results", "SELECT status, splits, acc_task_mean_pct AS acc FROM runs")
    assert [(row["status"], row["splits"]) for row in rows] == [("finished", said)] * 2
    assert all(0 < row["acc"] <= 100 for row in rows)
    counts = query(
        tmp_path / "results",
        "SELECT class_name, images, eval_images FROM classes WHERE trial = 0 AND task = 9 ORDER BY class_name",
    )
    assert [row["eval_images"] for row in counts][-3:] == [1, 1, 0]
    assert all(row["images"] > 0 for row in counts)
