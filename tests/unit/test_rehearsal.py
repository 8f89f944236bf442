"""Whatever a sampler or pruner would fail at is known before anything starts, and costs a moment."""

import inspect
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml

from sweeper.search.rehearsal import rehearse
from sweeper.search.space_file import load_space
from trainer.errors import ConfigError

ROOT = Path(__file__).parents[2]
MIXED: dict[str, Any] = {
    "method.kd": {"type": "categorical", "choices": ["dakd", "none"]},
    "method.alpha": {"type": "float", "low": 0.05, "high": 10.0, "log": True},
    "memory.per_class": {"type": "int", "low": 1, "high": 5},
    "method.lambda": {"type": "float", "low": 0.05, "high": 5.0, "when": {"method.kd": "dakd"}},
}
FLOATS = {"method.alpha": MIXED["method.alpha"], "method.temperature": {"type": "float", "low": 1.0, "high": 8.0}}
STEPS = MIXED | {
    "method.alpha": {"type": "float", "low": 1.0, "high": 3.0, "step": 1.0},
    "method.lambda": {"type": "float", "low": 0.5, "high": 2.0, "step": 0.5, "when": {"method.kd": "dakd"}},
}
GRID = {
    "method.kd": ["dakd", "none"],
    "method.alpha": [1.0, 2.0],
    "memory.per_class": [1, 3],
    "method.lambda": [0.5, 1.5],
}


def tried(folder: Path, **fields: Any) -> None:
    """Load and rehearse a search space: MIXED, unless it has another ``vary``."""
    content = {"base": str(ROOT / "runs" / "digits_lfs5.yaml"), "vary": MIXED, "trials": 16} | fields
    file = folder / "s.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    rehearse(load_space(file))


def classes(module: Any, base: type) -> list[str]:
    """Optuna's own, but for abstract ones."""
    found = {name: getattr(module, name) for name in module.__all__}
    own = {name: cls for name, cls in found.items() if inspect.isclass(cls) and issubclass(cls, base)}
    return sorted(name for name, cls in own.items() if not inspect.isabstract(cls))


SAMPLERS: dict[str, dict[str, Any]] = {
    "BruteForceSampler": {"vary": STEPS},
    "GridSampler": {"search": {"sampler": "GridSampler", "options": {"search_space": GRID}}},
}
"""what a sampler needs"""

REFUSED = {"PartialFixedSampler": "missing 2 required positional arguments"}
"""samplers that need what a file cannot give"""


@pytest.mark.parametrize("sampler", classes(optuna.samplers, optuna.samplers.BaseSampler))
@pytest.mark.parametrize("pruner", [None, "MedianPruner", "HyperbandPruner"])
def test_every_sampler_of_optuna_searches_or_is_refused(tmp_path: Path, sampler: str, pruner: str | None) -> None:
    fields = {"search": {"sampler": sampler}, "pruning": pruner and {"pruner": pruner}} | SAMPLERS.get(sampler, {})
    if sampler in REFUSED:
        with pytest.raises(ConfigError, match=rf"search\.sampler: {sampler}: .*{REFUSED[sampler]}"):
            tried(tmp_path, **fields)
    else:
        tried(tmp_path, **fields)


PRUNERS: dict[str, dict[str, Any]] = {
    "PatientPruner": {"wrapped_pruner": None, "patience": 3},
    "PercentilePruner": {"percentile": 25.0},
    "ThresholdPruner": {"lower": 50.5},
}
"""the options that a pruner needs"""


@pytest.mark.parametrize("pruner", classes(optuna.pruners, optuna.pruners.BasePruner))
def test_every_pruner_of_optuna_prunes(tmp_path: Path, pruner: str) -> None:
    tried(tmp_path, pruning={"pruner": pruner, "options": PRUNERS.get(pruner, {})})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"search": {"options": {"n_startup_trials": 1000, "n_ei_candidates": 0}}}, "search.options: TPESampler: "),
        ({"search": {"options": {"gamma": 5}}}, "search.options: TPESampler: 'int' object is not callable"),
        ({"search": {"options": {"group": True, "multivariate": False}}}, "search.options: TPESampler: "),
        ({"search": {"sampler": "BruteForceSampler"}}, "search.sampler: BruteForceSampler: FloatDistribution.step"),
        (
            {"vary": FLOATS, "search": {"sampler": "CmaEsSampler", "options": {"x0": {"method.alpha": 1.0}}}},
            "search.options: CmaEsSampler: ",
        ),
        (
            {"search": {"sampler": "QMCSampler", "options": {"independent_sampler": "RandomSampler"}}},
            "search.options: QMCSampler: 'str' object has no attribute",
        ),
        (
            {"search": {"sampler": "NSGAIISampler", "options": {"constraints_func": "f"}}},
            "search.options: NSGAIISampler",
        ),
        (
            {"first": [{"method.alpha": 1.0}], "search": SAMPLERS["GridSampler"]["search"]},
            "search.options: GridSampler: All parameters must be specified",
        ),
        (
            {"pruning": {"pruner": "HyperbandPruner", "options": {"min_resource": 0}}},
            "pruning.options: HyperbandPruner: ",
        ),
        (
            {"pruning": {"pruner": "PatientPruner", "options": {"wrapped_pruner": "MedianPruner", "patience": 30}}},
            "pruning.options: PatientPruner: 'str' object has no attribute",
        ),
    ],
)
def test_what_fails_past_the_start_is_refused_in_one_line(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        tried(tmp_path, **fields)
    line = str(refused.value)
    assert line.startswith(f"{tmp_path / 's.yaml'}: {said}")
    assert "\n" not in line


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needy_sampler.py").write_text(
        "from optuna.samplers import RandomSampler\n\n\n"
        "class Needy(RandomSampler):\n"
        "    def after_trial(self, study, trial, state, values):\n"
        "        if trial.number == 2:\n"
        "            import no_such_package\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="Needy needs a package that is not installed: pip install no_such_package"):
        tried(tmp_path, search={"sampler": "needy_sampler.Needy"})


def test_a_rehearsal_takes_a_moment_however_much_the_search_waits_for(tmp_path: Path) -> None:
    options = {"n_startup_trials": 10_000, "multivariate": True, "group": True}
    point = {"method.kd": "none", "method.alpha": 1.0}
    fields: dict[str, Any] = {"trials": 100_000, "first": [point] * 500, "search": {"options": options}}
    tried(tmp_path, **fields)
    before = time.process_time()
    tried(tmp_path, **fields)
    assert time.process_time() - before < 2  # loading the file included
