"""What makes two configurations the same run, the same configuration, the same first task."""

from typing import Any

import pytest
import yaml

from support.runs import tiny_run
from trainer.config.files import dump_run, parse_run


def reversed_keys(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: reversed_keys(value) for key, value in reversed(content.items())}
    return content


def test_neither_the_place_of_the_images_nor_the_order_of_keys_makes_another_run() -> None:
    config = tiny_run("distillation")
    assert tiny_run("distillation", data={"path": "/elsewhere"}).run_id == config.run_id
    again = parse_run(reversed_keys(yaml.safe_load(dump_run(config))))
    assert (again.run_id, again.config_id, again.first_task_id) == (
        config.run_id,
        config.config_id,
        config.first_task_id,
    )


def test_whole_numbers_are_the_numbers_they_are() -> None:
    assert tiny_run("finetune", optim={"lr": 1}).run_id == tiny_run("finetune", optim={"lr": 1.0}).run_id


@pytest.mark.parametrize(
    "change",
    [
        {"hyperparameters": {"lambda": 0.5}},
        {"method": "finetune"},
        {"optim": {"lr": 0.2}},
        {"data": {"imbalance": {"ratio": 11, "max_per_class": 20}}},
        {"protocol": {"tasks": 2}},
        {"net": {"name": "resnet32"}},
        {"memory": {"per_class": 4}},
        {"data": {"evaluation": {"split": "validation"}}},
    ],
    ids=str,
)
def test_everything_else_does(change: dict[str, Any]) -> None:
    config, other = tiny_run("distillation"), tiny_run(**{"method": "distillation", **change})
    assert (other.run_id == config.run_id, other.config_id == config.config_id) == (False, False)


def test_seeds_share_a_configuration() -> None:
    config, other = tiny_run("finetune"), tiny_run("finetune", seed=1)
    assert other.config_id == config.config_id
    assert other.run_id != config.run_id
    assert other.first_task_id != config.first_task_id
    assert other.trains_together_with(config)


def test_fields_that_act_later_share_the_first_task() -> None:
    config = tiny_run("distillation")
    assert tiny_run("distillation", {"lambda": 9.0, "temperature": 1.0}).first_task_id == config.first_task_id
    assert tiny_run("finetune").first_task_id != config.first_task_id
    assert tiny_run("distillation", optim={"epochs": 3}).first_task_id != config.first_task_id


def test_the_three_ids_are_different_hashes() -> None:
    config = tiny_run("distillation")
    ids = (config.run_id, config.config_id, config.first_task_id)
    assert len(set(ids)) == 3
    assert all(len(found) == 16 and int(found, 16) for found in ids)
