"""Search-space files: what is refused, in which words, and that all that are shipped load."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from sweeper.search.space_file import load_space
from trainer.config.files import load_run
from trainer.errors import ConfigError

ROOT = Path(__file__).parent.parent.parent
SHIPPED = sorted((ROOT / "search_spaces").glob("*.yaml"))


def content(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "base": str(ROOT / "runs" / "digits_lfs5.yaml"),
        "vary": {
            "method.alpha": {"type": "float", "low": 0.05, "high": 10.0, "log": True},
            "method.kd": {"type": "categorical", "choices": ["dakd", "none"]},
            "memory.per_class": {"type": "int", "low": 1, "high": 5},
        },
        "seeds": [0, 1],
        "trials": 4,
    }
    return {name: value for name, value in {**found, **changes}.items() if value is not None}


def write(tmp_path: Path, fields: dict[str, Any]) -> Path:
    file = tmp_path / "space.yaml"
    file.write_text(yaml.safe_dump(fields, sort_keys=False))
    return file


def dimension(name: str, **fields: Any) -> dict[str, Any]:
    return {"vary": {name: fields}}


LAMBDA = {"type": "float", "low": 0.05, "high": 5.0}
PARENTS: dict[str, Any] = {
    "method.alpha": {"type": "float", "low": 0.05, "high": 10.0},
    "memory.per_class": {"type": "int", "low": 1, "high": 5, "step": 2},
    "method.kd": {"type": "categorical", "choices": ["dakd", "none"]},
    "method.beta": {"type": "categorical", "choices": ["norm", "one"], "when": {"method.kd": "dakd"}},
}


def when(**conditions: Any) -> dict[str, Any]:
    """A dimension with these conditions, their dots written as two underscores, after some that it may have."""
    named = {name.replace("__", "."): value for name, value in conditions.items()}
    return {"vary": PARENTS | {"method.lambda": LAMBDA | {"when": named}}}


def grid(**changes: Any) -> dict[str, Any]:
    """A grid over two dimensions, with these values instead, or None where a dimension has none."""
    values = {"memory.per_class": [1, 3], "method.kd": ["dakd", "none"]} | changes
    options = {"search_space": {name: value for name, value in values.items() if value is not None}}
    vary = {name: PARENTS[name] for name in ("memory.per_class", "method.kd")}
    return {"vary": vary, "search": {"sampler": "GridSampler", "options": options}}


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_shipped_spaces_load(file: Path) -> None:
    space = load_space(file)
    configs = space.configs({})
    assert [config.seed for config in configs] == list(space.spec.seeds)
    assert {config.data.evaluation.split for config in configs} == {"validation"}


def test_a_shipped_space_is_found_by_its_name_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = load_space(ROOT / "search_spaces" / "digits.yaml")
    monkeypatch.chdir(tmp_path)
    here = load_space("search_spaces/digits.yaml")
    assert (here.name, here.base) == (there.name, there.base)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            dimension("method.alhpa", type="float", low=1.0, high=2.0),
            "vary.method.alhpa: no such field of gradient_reweighting",
        ),
        (dimension("method.alhpa", type="float", low=1.0, high=2.0), "did you mean 'alpha'?"),
        (dimension("optim.leraning_rate", type="float", low=1.0, high=2.0), "no such field of optim"),
        (dimension("method.alpha", type="float", low=1.0, high=101.0), "vary.method.alpha: 101.0"),
        (dimension("method.alpha", type="float", low=2.0, high=1.0), "low 2.0 must be below high 1.0"),
        (dimension("method.alpha", type="float", low=0.0, high=1.0, log=True), "above 0 on a log scale"),
        (dimension("method.alpha", type="flaot", low=0.0, high=1.0), "flaot"),
        (
            dimension("method.alpha", type="float", low="1e-3", high=1.0),
            "vary.method.alpha.low: '1e-3' is text, not a number (YAML reads 1e-3 as text",
        ),
        (
            dimension("method.alpha", type="float", low=0.1, high=1.0, setp=0.1),
            "vary.method.alpha.setp: no such field of vary.method.alpha; allowed: when, type, low, high, log, step; "
            "did you mean 'step'?",
        ),
        (dimension("method.kd", type="categorical", choices=[None]), "vary.method.kd.choices.0: None"),
        (dimension("method.kd", type="categorical", choices=["dakd", "kdd"]), "did you mean"),
        (dimension("seed", type="int", low=0, high=3), "cannot be searched; use `seeds`"),
        (
            dimension("data.evaluation.split", type="categorical", choices=["test"]),
            "cannot be searched; use `objective`",
        ),
        (
            dimension("data.path", type="categorical", choices=["a", "b"]),
            "vary.data.path: cannot be searched, as it does not name a run: launch a sweep for each value",
        ),
        (dimension("method.lambda", type="float", low=1.0, high=5.0, log=True, step=1.0), "mutually exclusive"),
        (dimension("memory.per_class", type="int", low=1, high=5, log=True, step=2), "mutually exclusive"),
        (
            dimension("memory.per_class", type="int", low=1, high=6, step=2),
            "vary.memory.per_class: steps of 2 from 1 do not reach high 6; allowed: high 5 or 7",
        ),
        (dimension("memory.per_class", type="int", low=10**400, high=1), "must be below high 1"),
        (dimension("data.flip", type="categorical", choices=[True, 1]), "vary.data.flip: choices must be different"),
        (
            dimension("method.alpha", type="float", low=0.1, high=1.0, when={"method.kd": "kd"}),
            "is not a dimension defined earlier",
        ),
        (
            when(method__kd=["dkad"]),
            "vary.method.lambda.when.method.kd: 'dkad' is never its value; allowed: dakd, none; did you mean 'dakd'?",
        ),
        (when(method__kd=["dakd", True]), "when.method.kd: True is never its value; allowed: dakd, none"),
        (when(memory__per_class=7), "when.memory.per_class: 7 is never its value; allowed: 1 to 5 in steps of 2"),
        (when(memory__per_class=[1, 2]), "when.memory.per_class: 2 is never its value"),
        (when(method__alpha=1.0), "when.method.alpha: 1.0 is never exactly its value"),
        (when(method__beta="one", method__kd="none"), "vary.method.lambda.when: is never met, because of method.kd"),
        ({"vary": {}}, "vary"),
        ({"base": "runs/nowhere.yaml"}, "base: no such run file: runs/nowhere.yaml"),
        ({"set": {"method.alhpa": 1.0}}, "alhpa"),
        (
            {"first": [{"method.alpha": 11.0}]},
            "first[0].method.alpha: 11.0 lies outside the dimension; allowed: 0.05 to 10",
        ),
        ({"first": [{"method.alpah": 1.0}]}, "first[0]: 'method.alpah' is not a dimension"),
        ({"first": [{"memory.per_class": 1.5}]}, "first[0].memory.per_class: 1.5 lies outside the dimension"),
        ({"vary": PARENTS, "first": [{"memory.per_class": 2}]}, "allowed: 1 to 5 in steps of 2"),
        ({"vary": PARENTS, "first": [{"memory.per_class": True}]}, "True lies outside the dimension"),
        (
            {"vary": PARENTS, "first": [{"method.kd": "none", "method.beta": "one"}]},
            "first[0].method.beta: is searched only with method.kd: dakd, which the point does not give",
        ),
        ({"vary": PARENTS, "first": [{"method.beta": "one"}]}, "first[0].method.beta: is searched only with"),
        ({"seeds": []}, "seeds"),
        ({"seeds": [1, 1]}, "seeds must be different"),
        ({"seeds": [-1]}, "not negative"),
        ({"trials": 0}, "trials"),
        ({"objective": {"metric": "acc_task_mean"}}, "did you mean 'acc_task_mean_pct'?"),
        ({"objective": {"split": "test"}}, "objective.split"),
        ({"search": {"sampler": "TPESampeler"}}, "did you mean 'TPESampler'?"),
        ({"search": {"options": {"multivaraite": True}}}, "search.options: TPESampler"),
        ({"search": {"options": {"seed": 42}}}, "search.options.seed: is made from `search.seed`"),
        (
            grid(**{"method.kdd": ["kd"]}),
            "search.options.search_space: 'method.kdd' is not a dimension; allowed: memory",
        ),
        (
            grid(**{"method.kd": None}),
            "search.options.search_space: 'method.kd' has no values; allowed: values of each",
        ),
        (grid(**{"memory.per_class": [1, 2]}), "search_space.memory.per_class: 2 lies outside the dimension"),
        (grid(**{"memory.per_class": 3}), "search_space.memory.per_class: 3 is not a list"),
        (grid(**{"memory.per_class": [1]}), "trials: the grid has only 2 points; allowed: up to 2"),
        (grid(**{"memory.per_class": [1] * 10_000, "method.kd": ["none"] * 10_000}), "more than a million points"),
        ({"pruning": {"pruner": "MedianPrunner"}}, "did you mean 'MedianPruner'?"),
        ({"pruning": {"options": {"min_resource": -1}}}, "pruning.options: SuccessiveHalvingPruner"),
        ({"resources": {"gpu": 1.5}}, "whole number"),
        ({"resources": {"pack": 0}}, "pack"),
        ({"vary": {0.0: None}}, "vary.0.0: 0.0 is not allowed"),
        ({"tirals": 3}, "did you mean 'trials'?"),
        ({"name": "a/b"}, "name"),
    ],
)
def test_bad_fields_are_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    file = write(tmp_path, content(**changes))
    with pytest.raises(ConfigError) as refused:
        load_space(file)
    line = str(refused.value)
    assert said in line
    assert line.startswith(str(file))
    assert "\n" not in line


def test_another_kind_of_file_is_told_apart(tmp_path: Path) -> None:
    run = ROOT / "runs" / "digits_lfs5.yaml"
    with pytest.raises(ConfigError, match=r"is a run file, not a search space: python -m trainer\.run"):
        load_space(run)
    with pytest.raises(ConfigError, match=r"is a search space, not a run file: python -m sweeper\.launch"):
        load_run(SHIPPED[0])
    with pytest.raises(ConfigError, match=r"is a folder, not a file; .*python -m sweeper\.init"):
        load_space(tmp_path)


def test_the_projects_own_file_is_the_nearest_outside_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"digits: no such file; did you mean 'search_spaces/digits\.yaml'"):
        load_space("digits")


def test_conditions_and_sharing(tmp_path: Path) -> None:
    later = {
        "method.kd": {"type": "categorical", "choices": ["dakd", "none"]},
        "method.lambda": {"type": "float", "low": 0.1, "high": 1.0, "when": {"method.kd": "dakd"}},
    }
    space = load_space(write(tmp_path, content(vary=later)))
    assert space.shares_first_task()
    assert space.spec.vary["method.lambda"].active({"method.kd": "dakd"})
    assert not space.spec.vary["method.lambda"].active({"method.kd": "none"})
    steps = {
        "method.alpha": {"type": "float", "low": 0.1, "high": 0.5, "step": 0.2},
        "method.lambda": {"type": "float", "low": 0.1, "high": 1.0, "when": {"method.alpha": 0.3}},
    }
    # What Optuna computes for the second step is not exactly what people write.
    assert (
        load_space(write(tmp_path, content(vary=steps))).spec.vary["method.lambda"].active({"method.alpha": 0.1 + 0.2})
    )
    earlier = {"optim.lr": {"type": "float", "low": 0.01, "high": 0.1}}
    assert not load_space(write(tmp_path, content(vary=earlier))).reuses_first_tasks()


def test_every_value_makes_its_own_configuration(tmp_path: Path) -> None:
    space = load_space(write(tmp_path, content()))
    a = space.configs({"method.alpha": 0.5, "memory.per_class": 3})
    assert a[0].method.model_dump()["alpha"] == 0.5
    assert a[0].memory.per_class == 3
    assert a[0].config_id == a[1].config_id != space.configs({"method.alpha": 0.6})[0].config_id
    assert a[0].first_task_id != a[1].first_task_id


def test_a_field_that_is_searched_cannot_be_set_from_outside(tmp_path: Path) -> None:
    """It would be the base's alone, and the search would look as if it had been heard."""
    file = write(tmp_path, content())
    with pytest.raises(ConfigError, match=r"--set method.alpha: is searched.*change vary.method.alpha"):
        load_space(file, ("method.alpha=0.3",))
    assert load_space(file, ("vary.method.alpha.high=2",)).spec.vary["method.alpha"].model_dump()["high"] == 2
    assert load_space(file, ("method.temperature=3",)).base.as_dict()["method"]["temperature"] == 3
