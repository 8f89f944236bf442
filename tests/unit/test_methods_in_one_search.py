"""``method.name`` as a dimension: each method has its own fields, defaults and first task."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from sweeper.execution.packing import largest
from sweeper.search.outcome import Outcome
from sweeper.search.rehearsal import rehearse
from sweeper.search.space import Space
from sweeper.search.space_file import load_space
from sweeper.search.study import StoredTrial, Study
from sweeper.search.words import format_params
from sweeper.store.folder import Folder
from sweeper.store.sweep_file import check_unchanged, read_space
from trainer.errors import ConfigError

BASE = str(Path(__file__).parents[2] / "runs" / "digits_lfs5.yaml")
NAME = "method.name"
THREE = ["finetune", "bic", "gradient_reweighting"]
DISTIL: dict[str, Any] = {"when": {NAME: ["bic", "gradient_reweighting"]}}
LAMBDA: dict[str, Any] = {"type": "float", "low": 0.05, "high": 5.0, "log": True}
ALPHA: dict[str, Any] = {"type": "float", "low": 0.05, "high": 10.0, "when": {NAME: "gradient_reweighting"}}
VARY: dict[str, Any] = {NAME: THREE, "method.lambda": LAMBDA | DISTIL, "method.alpha": ALPHA}


def space(folder: Path, *sets: str, vary: dict[str, Any] = VARY, **fields: Any) -> Space:
    content = {"base": BASE, "vary": vary, "trials": 12, **fields}
    file = folder / "s.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return load_space(file, sets)


def test_each_method_has_its_own_defaults_and_the_bases_method_its_fields(tmp_path: Path) -> None:
    found = space(tmp_path, "set.method.temperature=3")
    (own,), (bic,), (finetune,) = (found.configs({NAME: name}) for name in ("gradient_reweighting", "bic", "finetune"))
    assert own.method == found.base.method
    (alone,) = space(tmp_path, "method.name=bic", vary={"optim.lr": LAMBDA}).configs({})
    assert bic == alone
    assert bic.as_dict()["method"]["temperature"] == 2.0
    assert finetune.method.name == "finetune"
    (tuned,) = found.configs({NAME: "bic", "method.lambda": 0.5})
    assert tuned.method == bic.method.model_copy(update={"lambda_": 0.5})


def test_a_list_is_short_for_choices(tmp_path: Path) -> None:
    short = space(tmp_path, vary={NAME: THREE}).spec.vary
    assert short == space(tmp_path, vary={NAME: {"type": "categorical", "choices": THREE}}).spec.vary
    assert short == space(tmp_path, f"vary.{NAME}={THREE}", vary={NAME: ["wa"]}).spec.vary


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        ({NAME: ["finetune", "bicc"]}, "vary.method.name: no such method: 'bicc'; allowed: .*did you mean 'bic'"),
        ({NAME: []}, "vary.method.name.choices: "),
        (
            {NAME: THREE, "method.lambda": LAMBDA},
            r"vary.method.lambda: is a field of bic and gradient_reweighting, not of finetune; "
            r"write `when: {method.name: \[bic, gradient_reweighting\]}`$",
        ),
        (
            {NAME: THREE, "method.alpha": ALPHA | {"when": {NAME: "bic"}}},
            r"is a field of gradient_reweighting, not of bic; write `when: {method.name: gradient_reweighting}`$",
        ),
        (
            {NAME: THREE, "method.reserve": LAMBDA | {"when": {NAME: ["finetune", "bic"]}, "low": 0.1, "high": 0.9}},
            r"is a field of bic, not of finetune; write `when: {method.name: bic}`$",
        ),
        (
            {NAME: THREE, "optim.epochs": [2, 3], "method.alpha": ALPHA | {"when": {"optim.epochs": 2}}},
            r"not of finetune or bic; write `when: {optim.epochs: 2, method.name: gradient_reweighting}`$",
        ),
        (
            {NAME: THREE, "method.lamdba": LAMBDA | DISTIL},
            "vary.method.lamdba: no such field of bic or gradient_reweighting; allowed: .*did you mean 'lambda'",
        ),
        (
            {NAME: ["finetune", "bic"], "method.alpha": ALPHA | {"when": {NAME: "bic"}}},
            "vary.method.alpha: no such field of bic, only of gradient_reweighting and maf_drc; allowed: ",
        ),
        (
            {"method.lambda": LAMBDA | DISTIL, NAME: THREE},
            "vary.method.lambda.when: 'method.name' is defined after it; write method.name first",
        ),
        (
            {NAME: ["bic", "lucir"], "method.lambda": LAMBDA | {"low": 50, "high": 101}},
            "vary.method.lambda: with bic: 101.0 .*allowed: .*100",
        ),
        (
            {"optim.epochs": [2, 3], NAME: {"type": "categorical", "choices": ["bic"], "when": {"optim.epochs": 2}}}
            | {"method.reserve": {"type": "float", "low": 0.1, "high": 0.5}},
            r"is a field of bic, not of gradient_reweighting; write `when: {method.name: bic}`$",
        ),
    ],
)
def test_a_dimension_is_a_field_of_each_method_that_it_is_searched_with(
    tmp_path: Path, vary: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        space(tmp_path, vary=vary)


def test_an_unknown_method_is_named_once_and_other_sections_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        space(tmp_path, vary=VARY | {NAME: ["bicc", *THREE], "optim.epohcs": [2, 3]})
    assert [mistake.field for mistake in refused.value.mistakes] == ["vary.method.name", "vary.optim.epohcs"]


def test_a_field_that_all_methods_have_needs_no_condition(tmp_path: Path) -> None:
    found = space(tmp_path, vary={"method.lambda": LAMBDA, NAME: ["bic", "wa"]})
    (config,) = found.configs({"method.lambda": 0.5, NAME: "wa"})
    assert (config.method.name, config.as_dict()["method"]["lambda"]) == ("wa", 0.5)
    distillation = {"method.kd": ["kd", "none"], "method.temperature": LAMBDA | {"when": {"method.kd": "kd"}}}
    space(tmp_path, vary={NAME: ["bic", "wa"], **distillation})
    own = {NAME: THREE, "method.kd": {"type": "categorical", "choices": ["kd", "dakd"]} | DISTIL}
    space(tmp_path, vary=own | {"method.temperature": LAMBDA | {"when": {"method.kd": "kd"}}})  # through `kd`


def test_a_preset_is_a_dimension_too(tmp_path: Path) -> None:
    found = space(tmp_path, vary={"method.prior": ["none", "counts"], "method.preset": ["official", "paper"]})
    (config,) = found.configs({"method.prior": "none", "method.preset": "paper"})
    fields = config.as_dict()["method"]
    assert (fields["task_ratio"], fields["prior"]) == ("text", "none")
    (config,) = space(tmp_path, set={"method.preset": "paper"}, vary={"optim.epochs": [2, 3]}).configs({})
    assert config.as_dict()["method"]["prior"] == "grads"


def test_fields_of_the_run_file_are_set_by_their_names(tmp_path: Path) -> None:
    vary = {"method.lambda": LAMBDA}
    found = space(tmp_path, "optim.epochs=3", "set.optim.lr=0.2", "vary.method.lambda.high=2", vary=vary)
    assert (found.base.optim.epochs, found.base.optim.lr) == (3, 0.2)
    assert found.base.optim.batch_size == 32
    assert str(found.spec.vary["method.lambda"]) == "0.05 to 2.0"


def test_first_tasks_are_shared_within_a_method(tmp_path: Path) -> None:
    found = space(tmp_path)
    assert found.reuses_first_tasks()
    assert not found.shares_first_task()
    one, two, other = (
        found.configs(params)[0].first_task_id
        for params in ({NAME: "bic"}, {NAME: "bic", "method.lambda": 2.0}, {NAME: "finetune"})
    )
    assert one == two != other
    assert space(tmp_path, vary={"method.alpha": ALPHA | {"when": {}}}).shares_first_task()
    assert not space(tmp_path, vary={NAME: THREE}).reuses_first_tasks()  # nothing is left that could differ
    assert not space(tmp_path, vary=VARY | {"optim.lr": LAMBDA}).reuses_first_tasks()
    # Members of a pack may differ in tau, which acts in the first task: it would depend on who is in the pack.
    tau = {"method.tau": [0.5, 1.0], "method.kd": ["kd", "none"]}
    with pytest.raises(ConfigError, match="no such field of balanced_softmax"):
        space(tmp_path, set={NAME: "balanced_softmax"}, vary=tau)
    tau = {"method.tau": [0.5, 1.0], "optim.epochs": [2, 3]}
    assert not space(tmp_path, set={NAME: "balanced_softmax"}, vary=tau).reuses_first_tasks()


def test_packs_fuse_within_a_method(tmp_path: Path) -> None:
    found = space(tmp_path, trials=1000)
    assert largest(found, concurrency=1) == 250
    (bic,), (other,) = found.configs({NAME: "bic"}), found.configs({NAME: "bic", "method.lambda": 2.0})
    assert bic.trains_together_with(other)
    assert not bic.trains_together_with(found.configs({NAME: "gradient_reweighting"})[0])


def test_a_comparison_is_rehearsed_and_restored(tmp_path: Path) -> None:
    options = {"multivariate": True, "group": True, "constant_liar": True}
    found = space(tmp_path, first=[{NAME: name} for name in THREE], search={"options": options})
    rehearse(found)
    study, stored, suggested = Study(found), {}, {}
    while (suggestion := study.ask()) is not None:
        (config,) = suggestion.configs
        assert config.method.name == suggestion.params[NAME]
        assert ("method.alpha" in suggestion.params) == (config.method.name == "gradient_reweighting")
        outcome = Outcome("finished", 50.0 + len(suggestion.params))
        study.tell(suggestion.number, outcome)
        if suggestion.number < 6:
            stored[suggestion.number] = StoredTrial(suggestion.params, outcome)
        suggested[suggestion.number] = suggestion.params
    assert [suggested[number][NAME] for number in range(3)] == THREE
    resumed = Study(found)
    resumed.restore(stored, {})
    for number in range(6, 12):
        again = resumed.ask()
        assert again is not None
        assert (again.number, again.params) == (number, suggested[number])
        resumed.tell(number, Outcome("finished", 50.0 + len(again.params)))


def test_a_stored_sweep_knows_its_methods(tmp_path: Path) -> None:
    found = space(tmp_path)
    check_unchanged(found, Folder.at(tmp_path / "s"), None, "images")
    assert read_space(Folder.at(tmp_path / "s")).identity() == found.identity()
    check_unchanged(space(tmp_path), Folder.at(tmp_path / "s"), None, "images")


def test_a_method_is_called_a_method_and_comes_first() -> None:
    assert (
        format_params({"method.lambda": 0.5, NAME: "bic", "net.name": "small"}) == "method bic, lambda 0.5, net small"
    )
