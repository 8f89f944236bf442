"""Numbers of every method, written down: a change that is not meant to change results does not.

One file a method, in float64: the losses of its defaults and of each other choice of its switches.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from support.methods import switches
from support.runs import FEW_IMAGES, accuracies, losses, tiny_run
from trainer.methods.base import METHODS
from trainer.training.options import DeviceOptions
from trainer.training.session import train

FOLDER = Path(__file__).parent


def measured(name: str) -> dict[str, Any]:
    """The same few steps with the defaults, and with each choice of each switch in turn."""
    cases: dict[str, dict[str, Any]] = {"defaults": {}}
    cases |= {f"{field}: {value}": {field: value} for field, value in switches(name)}
    found = {}
    for case, hyperparameters in cases.items():
        configs = [
            tiny_run(name, hyperparameters, seed=seed, data=FEW_IMAGES, protocol={"tasks": 2}, optim={"epochs": 2})
            for seed in ((0, 1) if case == "defaults" else (0,))
        ]
        results = train(configs, DeviceOptions(device="cpu", precision="float64"))
        found[case] = {
            "losses": losses(results),
            "acc_by_task_pct": [[acc for acc, _ in tasks] for tasks in accuracies(results)],
            "head_norm_mean": [[row.head_norm_mean for row in result.tasks] for result in results],
        }
    return found


@pytest.mark.parametrize("name", METHODS.names())
def test_numbers_are_the_recorded_ones(name: str, request: pytest.FixtureRequest) -> None:
    file = FOLDER / f"{name}.json"
    found = measured(name)
    if request.config.getoption("--update-golden"):
        file.write_text(json.dumps(found, indent=1) + "\n")
    command = f"python -m pytest tests/golden -k {name} --update-golden"
    assert file.exists(), f"{name} has no recorded numbers yet; write them with: {command}"
    expected = json.loads(file.read_text())
    assert found.keys() == expected.keys(), f"the switches of {name} changed; write its numbers anew with: {command}"
    for case, numbers in expected.items():
        assert_equal(found[case], numbers, case)


def assert_equal(found: Any, expected: Any, where: str) -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key, value in expected.items():
            assert_equal(found[key], value, f"{where}: {key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for position, value in enumerate(expected):
            assert_equal(found[position], value, f"{where}[{position}]")
    else:
        assert found == pytest.approx(expected, rel=0, abs=1e-10), where


def test_every_file_belongs_to_a_method() -> None:
    assert {file.stem for file in FOLDER.glob("*.json")} <= set(METHODS.names())
