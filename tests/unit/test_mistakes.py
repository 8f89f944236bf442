"""All mistakes of a file are reported at once, in this project's words, with what the reader may have meant."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweeper import launch
from sweeper.search.space_file import load_space
from trainer.config.files import load_run
from trainer.errors import ConfigError, exit_code, nearest
from trainer.training.options import DeviceOptions

ROOT = Path(__file__).parents[2]
BASE = str(ROOT / "runs" / "digits_lfs5.yaml")
LAMBDA = {"type": "float", "low": 0.05, "high": 5.0}
PYDANTICS = (
    "discriminator",
    " tag ",
    "instance of",
    "dictionary",
    "valid integer",
    "Input should",
    "tuple",
    "Value error",
)


def refused(file: Path, content: dict[str, Any], *, run: bool = False) -> list[str]:
    """The lines of a refused file, without its name."""
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(ConfigError) as error:
        load_run(file) if run else load_space(file)
    lines = error.value.lines()
    assert all(line.startswith(f"{file}: ") for line in lines), lines
    assert not [line for line in lines for words in PYDANTICS if words in line]
    return [line.removeprefix(f"{file}: ") for line in lines]


def test_every_mistake_of_a_run_file_has_a_line(tmp_path: Path) -> None:
    content = {
        "optim": {"lr": "1e-3", "epochs": 1.5, "nesterov": True},
        "method": {"name": "gradient_reweighting", "alhpa": 1.0, "lambda": -1},
        "net": "resnet32",
        "seed": "three",
    }
    lines = refused(tmp_path / "run.yaml", content, run=True)
    fields = ["net", "method.lambda", "method.alhpa", "optim.epochs", "optim.lr", "optim.nesterov", "seed"]
    assert [line.partition(":")[0] for line in lines] == fields
    assert lines[0] == "net: 'resnet32' is not allowed; write {name: resnet32}"
    assert lines[2].endswith("did you mean 'alpha'?")
    assert lines[6] == "seed: 'three' is not allowed; allowed: a whole number"


def test_a_section_is_not_its_name(tmp_path: Path) -> None:
    lines = refused(tmp_path / "run.yaml", {"method": "finetune", "optim": "sgd"}, run=True)
    assert lines == [
        "method: 'finetune' is not allowed; write {name: finetune}",
        "optim: 'sgd' is not allowed; allowed: fields by name",
    ]


def test_an_unknown_method_hides_no_other_mistake(tmp_path: Path) -> None:
    lines = refused(tmp_path / "run.yaml", {"method": {"name": "fintune"}, "sede": 1}, run=True)
    assert [line.partition(":")[0] for line in lines] == ["method.name", "sede"]


def test_every_mistake_of_a_search_space_has_a_line(tmp_path: Path) -> None:
    content = {
        "base": BASE,
        "set": {"optim.lr": -1, "optim.epoch": 3},
        "vary": {
            "method.alpha": {"type": "loguniform", "low": 0.1, "high": 1.0},
            "method.lambda": LAMBDA | {"low": 9.0},
            "method.temperature": {"low": 1.0, "high": 2.0},
            "method.kd": "dakd",
        },
        "objective": {"metric": "accuracy"},
        "search": {"sampler": "tpe"},
        "pruning": {"pruner": "asha"},
        "tirals": 4,
        "budget": 3,
    }
    lines = refused(tmp_path / "space.yaml", content)
    fields = [line.partition(":")[0] for line in lines]
    wrong = ["vary.method.alpha.type", "vary.method.lambda", "vary.method.temperature.type", "vary.method.kd"]
    assert fields == [*wrong, "trials", "budget", "tirals", "objective.metric", "pruning.pruner", "set", "set"]
    assert lines[0].endswith("allowed: float, int, categorical; did you mean 'float, log: true'?")
    assert lines[2] == "vary.method.temperature.type: is missing; allowed: float, int, categorical"
    assert lines[3] == "vary.method.kd: 'dakd' is not allowed; allowed: fields by name"
    assert lines[8].endswith("did you mean 'SuccessiveHalvingPruner'?")


def test_values_are_checked_together(tmp_path: Path) -> None:
    content = {
        "base": BASE,
        "vary": {
            "method.kd": {"type": "categorical", "choices": ["dakd", "none"]},
            "method.lambda": LAMBDA | {"when": {"method.kd": "dkad"}},
            "method.beta": {"type": "categorical", "choices": ["norm", "one"], "when": {"method.kd": "kd"}},
        },
        "first": [{"method.kd": "no"}, {"method.alpha": 1.0}],
        "search": {"options": {"seed": 1}},
        "trials": 2,
    }
    fields = [line.partition(": ")[0] for line in refused(tmp_path / "space.yaml", content)]
    conditions = ["vary.method.lambda.when.method.kd", "vary.method.beta.when.method.kd"]
    assert fields == [*conditions, "search.options.seed"], "the rest depends on them"
    del content["vary"]["method.lambda"]["when"], content["vary"]["method.beta"]["when"]
    fields = [line.partition(": ")[0] for line in refused(tmp_path / "space.yaml", content)]
    assert fields == ["first[0].method.kd", "first[1]", "search.options.seed"]
    content["vary"] |= {"method.alpah": LAMBDA, "optim.lr": LAMBDA | {"low": -1.0}}
    fields = [line.partition(": ")[0] for line in refused(tmp_path / "space.yaml", content)]
    assert fields == ["vary.method.alpah", "vary.optim.lr", "search.options.seed"], "the rest depends on dimensions"


def test_a_command_prints_a_line_for_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(yaml.safe_dump({"base": BASE, "vary": {"method.lambda": LAMBDA}, "trials": "x", "y": 1}))
    assert exit_code(lambda: launch.main([str(file)])) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.startswith(f"error: {file}: ") for line in lines] == [True, True]


def test_mistakes_can_be_pickled() -> None:
    error = ConfigError.together([ConfigError("a", field="x"), ConfigError("b", nearest="c")]).in_file("f")
    assert str(error) == "f: x: a\nf: b; did you mean 'c'?"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize(
    ("given", "known", "meant"),
    [
        ("TPE", ["RandomSampler", "TPESampler"], "TPESampler"),
        ("random", ["RandomSampler", "TPESampler"], "RandomSampler"),
        ("cmaes", ["CmaEsSampler"], "CmaEsSampler"),
        ("bayesian", ["RandomSampler", "TPESampler"], "TPESampler"),
        ("Hyperband", ["HyperbandPruner"], "HyperbandPruner"),
        ("uniform", ["float", "int", "categorical"], "float"),
        ("choice", ["float", "int", "categorical"], "categorical"),
        ("values", ["type", "choices"], "choices"),
        ("min", ["type", "low", "high"], "low"),
        ("max", ["maximize", "minimize"], "maximize"),
        ("gpu", ["auto", "cpu", "cuda"], "cuda"),
        ("learning_rate", ["lr", "epochs"], "lr"),
        ("acc", ["acc_task_mean_pct"], "acc_task_mean_pct"),
        ("xyz", ["lr", "epochs"], None),
        ("", ["lr"], None),
    ],
)
def test_the_words_of_other_tools_are_understood(given: str, known: list[str], meant: str | None) -> None:
    assert nearest(given, known) == meant


def test_a_gpu_is_called_cuda() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'cuda'\?"):
        DeviceOptions(device="gpu").resolve_device()


@pytest.mark.parametrize(("device", "hint"), [("gpu", "--set resources.gpu=1"), ("cpu", "--set resources.cpu=2")])
def test_a_sweep_has_resources_instead_of_a_device(capsys: pytest.CaptureFixture[str], device: str, hint: str) -> None:
    with pytest.raises(SystemExit) as refused:
        launch.main(["search_spaces/digits.yaml", "--device", device])
    assert refused.value.code == 2
    assert f"{hint}; see " in capsys.readouterr().err.splitlines()[-1]


def test_a_name_instead_of_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for given, meant in {"digits": "search_spaces/digits.yaml", "digit.yaml": "search_spaces/digits.yaml"}.items():
        with pytest.raises(ConfigError, match=rf"{given}: no such file; did you mean '{meant}'\?"):
            load_space(given)
    with pytest.raises(ConfigError, match=r"did you mean 'runs/digits_lfs5\.yaml'\?"):
        load_run("digits_lfs5")
    file = tmp_path / "space.yaml"
    content = {"base": "runs/digits_lfs55.yaml", "vary": {"method.lambda": LAMBDA}, "trials": 1}
    assert refused(file, content) == [
        "base: no such run file: runs/digits_lfs55.yaml; did you mean 'digits_lfs5.yaml'?"
    ]
