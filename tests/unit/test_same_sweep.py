"""Two sweeps compared run by run: what is missing, stored twice or different is named."""

from pathlib import Path

import pytest
import yaml

from benchmarks import same_sweep
from sweeper.search.space_file import load_space
from sweeper.store.store import Store
from sweeper.store.sweep_file import check_unchanged
from trainer.results.rows import RunResult

ROOT = Path(__file__).parents[2]


def sweep(results: Path, runs: dict[tuple[int, int], float], alphas: dict[int, float]) -> str:
    """A stored sweep of two trials and two seeds; ``alphas``: parameters by trial."""
    content = {
        "base": str(ROOT / "runs" / "digits_lfs5.yaml"),
        "vary": {"method.alpha": {"type": "float", "low": 0.1, "high": 9.0, "log": True}},
        "seeds": [0, 1],
        "trials": 2,
        "name": "s",
    }
    results.mkdir(parents=True)
    file = results / "space-file.yaml"
    file.write_text(yaml.safe_dump(content))
    store = Store(results, "s")
    check_unchanged(load_space(file), store.folder, None, "")
    by_trial: dict[int, list[RunResult]] = {}
    for (trial, seed), acc in runs.items():
        result = RunResult(
            run_id=f"{trial}{seed}",
            config_id="c",
            seed=seed,
            status="finished",
            split="validation",
            acc_task_mean_pct=acc,
            device_s=1.0,
            git_commit="abc",
        )
        by_trial.setdefault(trial, []).append(result)
    for trial, results_of_it in by_trial.items():
        store.finish_trial(trial, results_of_it, attempt="attempt", params={"method.alpha": alphas[trial]})
    return str(store.folder)


WHOLE = {(0, 0): 90.0, (0, 1): 91.0, (1, 0): 80.5, (1, 1): 81.5}
ALPHAS = {0: 1.0, 1: 2.0, 2: 3.0}


@pytest.mark.parametrize(
    ("runs", "alphas", "says"),
    [
        (WHOLE, ALPHAS, "the same: 4 runs of 2 trials, each once"),
        ({k: v for k, v in WHOLE.items() if k != (1, 0)}, ALPHAS, "first: trial 1, seed 0 is missing"),
        (WHOLE | {(1, 1): 81.6}, ALPHAS, "trial 1, seed 1: ('finished', 81.6) and ('finished', 81.5)"),
        (WHOLE, ALPHAS | {1: 2.5}, "trial 1: different parameters"),
        (WHOLE | {(2, 0): 1.0}, ALPHAS, "first: trial 2, seed 0 is not part of the sweep"),
    ],
)
def test_a_difference_is_named(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    runs: dict[tuple[int, int], float],
    alphas: dict[int, float],
    says: str,
) -> None:
    killed, undisturbed = sweep(tmp_path / "killed", runs, alphas), sweep(tmp_path / "whole", WHOLE, ALPHAS)
    code = same_sweep.main([killed, undisturbed])
    assert says in capsys.readouterr().out
    assert code == (0 if says.startswith("the same") else 1)
