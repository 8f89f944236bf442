"""``--set`` and a search change a complete run file: another method or preset brings its own values along."""

from pathlib import Path

import pytest

from trainer.config.files import load_run
from trainer.config.run_config import RunConfig
from trainer.errors import ConfigError

FILE = Path(__file__).parents[2] / "runs" / "digits_lfs5.yaml"


def changed(*sets: str) -> RunConfig:
    return load_run(FILE, sets).config


def method(*sets: str) -> dict[str, object]:
    found: dict[str, object] = changed(*sets).as_dict()["method"]
    return found


def test_another_method_has_its_own_defaults() -> None:
    bic = method("method.name=bic")
    assert bic["name"] == "bic"
    assert bic["lambda"] == 1.0  # not the file's 0.7, which is another method's
    assert changed("method.name=bic") == changed("method={name: bic}")
    assert changed("method.name=bic").optim == changed().optim


def test_the_files_own_method_keeps_its_fields() -> None:
    assert changed("method.alpha=3", "method.name=gradient_reweighting") == changed("method.alpha=3")


def test_the_order_of_sets_does_not_matter() -> None:
    sets = ("method.name=bic", "method.lambda=2", "optim.epochs=3")
    assert method(*sets)["lambda"] == 2
    assert changed(*sets) == changed(*reversed(sets))
    sets = ("method.preset=paper", "method.prior=none")
    assert method(*sets)["prior"] == "none"
    assert changed(*sets) == changed(*reversed(sets))


def test_a_preset_sets_its_switches() -> None:
    paper = method("method.preset=paper", "method.alpha=3")
    assert (paper["prior"], paper["task_ratio"], paper["kd_t2"], paper["entropy_smoothing"]) == (
        "grads",
        "text",
        False,
        0,
    )
    assert paper["alpha"] == 3
    assert method("method.preset=paper", "method.preset=official") == method()


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (["method.name=bicc"], "method.name: no such method: 'bicc'; .*did you mean 'bic'"),
        (["method.name=[bic]"], "method.name: no such method"),
        (["method.name=finetune", "method.alpha=1"], "method.alpha: no such field of finetune"),
        (["method=bic", "method.lambda=1"], "method.lambda: 'method' holds no fields"),
        (["method.preset=papre"], "method.preset: 'papre' is not one of the choices"),
    ],
)
def test_mistakes_are_named(sets: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        changed(*sets)
