"""A search that the images do not allow is refused before anything starts, in one line."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.results import store_trials
from sweeper import launch
from sweeper.execution.plan import load_benchmark
from sweeper.search.space_file import load_space
from sweeper.store.store import Store
from trainer.errors import exit_code

ROOT = Path(__file__).parent.parent.parent


LAMBDA = {"method.lambda": {"type": "float", "low": 0.05, "high": 5.0}}


def space_file(folder: Path, vary: dict[str, Any], **changes: Any) -> Path:
    file = folder / "space.yaml"
    base = str(ROOT / "runs" / "digits_lfs5.yaml")
    file.write_text(yaml.safe_dump({"base": base, "vary": vary, "trials": 2, **changes}))
    return file


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        (
            {"protocol.tasks": {"type": "int", "low": 2, "high": 50}},
            "vary.protocol.tasks: 50: protocol.tasks: more tasks (50) than 10 classes make; allowed: 1 to 10",
        ),
        (
            {"data.imbalance.ratio": {"type": "float", "low": 1.0, "high": 5000.0}},
            "vary.data.imbalance.ratio: 5000.0: data.imbalance",
        ),
    ],
)
def test_both_bounds_must_fit_the_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], vary: dict[str, Any], said: str
) -> None:
    file = space_file(tmp_path, vary)
    assert exit_code(lambda: launch.main([str(file), "--results", str(tmp_path / "results")])) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"error: {file}: {said}")
    assert line.count("\n") == 1
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("vary", "objective", "base", "said"),
    [
        (
            LAMBDA,
            "acc_few_pct",
            {"data.imbalance.order": "balanced", "data.imbalance.max_per_class": 50},
            "objective.metric: acc_few_pct does not exist for 5 tasks and classes of 50 to 50 training images; "
            "allowed: acc_task_mean_pct, acc_class_weighted_pct, forgetting_pct, acc_medium_pct, acc_top5_pct, ece_pct",
        ),
        (LAMBDA, "forgetting_pct", {"protocol.tasks": 1}, "objective.metric: forgetting_pct does not exist for 1 task"),
        (
            {"data.imbalance.ratio": {"type": "float", "low": 1.0, "high": 20.0}},
            "acc_few_pct",
            {},
            "vary.data.imbalance.ratio: 1.0: objective.metric: acc_few_pct does not exist",
        ),
    ],
)
def test_an_objective_that_these_images_lack_is_refused(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    vary: dict[str, Any],
    objective: str,
    base: dict[str, Any],
    said: str,
) -> None:
    file = space_file(tmp_path, vary, objective={"metric": objective}, set=base)
    assert exit_code(lambda: launch.main([str(file), "--results", str(tmp_path / "results")])) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"error: {file}: {said}")
    assert line.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_a_dimension_that_fits_gives_the_benchmark_of_the_base(tmp_path: Path) -> None:
    vary = {"protocol.tasks": {"type": "int", "low": 2, "high": 10}}
    assert len(load_benchmark(load_space(space_file(tmp_path, vary))).tasks) == 5


def test_fewer_trials_than_are_stored_train_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = space_file(tmp_path, LAMBDA, name="s")
    store_trials(Store(tmp_path / "results", "s"), range(3))
    assert launch.main([str(file), "--results", str(tmp_path / "results"), "--trials", "1"]) == 0
    said = capsys.readouterr().out
    assert "3 configurations stored already, more than the 1 asked for: nothing is trained\n" in said
    assert "\n3 of 3 configurations: 0 pruned" in said


@pytest.mark.parametrize(
    ("resources", "notes"),
    [
        ({"cpu": 1, "precision": "float32"}, []),
        ({"cpu": 2}, ["trials train with 2 CPU threads (resources.cpu), stored ones did with 1"]),
        (
            {"cpu": 1, "precision": "bfloat16"},
            ["trials train in bfloat16 (resources.precision), stored ones did in float32"],
        ),
    ],
)
def test_what_rounds_otherwise_than_in_stored_runs_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], resources: dict[str, Any], notes: list[str]
) -> None:
    file = space_file(tmp_path, LAMBDA, name="s", resources=resources)
    store_trials(Store(tmp_path / "results", "s"), range(1), device="cpu", torch_threads=1, precision="float32")
    assert launch.main([str(file), "--results", str(tmp_path / "results"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert re.findall(r"warning: (trials .*): rounding differs", said) == notes


def test_zero_trials_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = space_file(tmp_path, {"method.alpha": {"type": "float", "low": 0.1, "high": 1.0}})
    assert exit_code(lambda: launch.main([str(file), "--trials", "0"])) == 2
    assert "trials: 0 is not allowed" in capsys.readouterr().err
