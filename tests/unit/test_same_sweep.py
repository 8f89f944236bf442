"""Two sweeps, run by run: what is lost, there twice, or other than it should be is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import same_sweep
from sweeper.store.store import Store

ROOT = Path(__file__).parents[2]


def sweep(results: Path, runs: dict[tuple[int, int], float], **asked: float) -> str:
    """A stored sweep of two configurations and two seeds; ``t0=1.0`` is what trial 0 was asked with."""
    folder = results / "s"
    folder.mkdir(parents=True)
    content = {
        "base": yaml.safe_load((ROOT / "runs" / "digits_lfs5.yaml").read_text()),
        "vary": {"method.alpha": {"type": "float", "low": 0.1, "high": 9.0, "log": True}},
        "objective": {"metric": "acc_task_mean_pct", "split": "validation", "direction": "maximize", "per_class": 25},
        "seeds": [0, 1],
        "last_launch": {"trials": 2, "data_path": None, "resources": {"cpu": 1}},
    }
    (folder / "space.yaml").write_text(yaml.safe_dump(content))
    store = Store(results, "s")
    for name, alpha in asked.items():
        row = {"trial": int(name[1:]), "config_id": "c", "params_json": f'{{"method.alpha": {alpha}}}'}
        store.append("asks", [row], f"a{name}")
    by_trial: dict[int, list[dict[str, Any]]] = {}
    for (trial, seed), acc in runs.items():
        row = {"seed": seed, "status": "finished", "acc_task_mean_pct": acc, "run_id": f"{trial}{seed}"}
        by_trial.setdefault(trial, []).append({"row": row | {"device_s": 1.0, "git_commit": "abc"}})
    for trial, results_of_it in by_trial.items():
        store.finish_trial(trial, "attempt", results_of_it)
    return str(folder)


WHOLE = {(0, 0): 90.0, (0, 1): 91.0, (1, 0): 80.5, (1, 1): 81.5}


@pytest.mark.parametrize(
    ("runs", "asked", "says"),
    [
        (WHOLE, {"t0": 1.0, "t1": 2.0}, "the same: 4 runs of 2 configurations, each once"),
        ({k: v for k, v in WHOLE.items() if k != (1, 0)}, {"t0": 1.0, "t1": 2.0}, "first: trial 1, seed 0 is lost"),
        (WHOLE | {(1, 1): 81.6}, {"t0": 1.0, "t1": 2.0}, "trial 1, seed 1: ('finished', 81.6) and ('finished', 81.5)"),
        (WHOLE, {"t0": 1.0, "t1": 2.5}, "trial 1: other parameters"),
        (WHOLE | {(2, 0): 1.0}, {"t0": 1.0, "t1": 2.0}, "first: trial 2, seed 0 was never to be"),
    ],
)
def test_a_difference_is_named(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    runs: dict[tuple[int, int], float],
    asked: dict[str, float],
    says: str,
) -> None:
    second = sweep(tmp_path / "whole", WHOLE, t0=1.0, t1=2.0)
    extra = {"t2": 3.0} if (2, 0) in runs else {}
    code = same_sweep.main([sweep(tmp_path / "killed", runs, **asked, **extra), second])
    assert says in capsys.readouterr().out
    assert code == (0 if says.startswith("the same") else 1)
