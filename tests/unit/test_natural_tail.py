"""A run on classes of their own sizes, one of a single image: what it stores, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.runs import tiny_run
from support.tails import NATURAL, natural_source
from sweeper.execution.plan import check_objective
from sweeper.store.results import open_results
from trainer.config.run_config import RunConfig
from trainer.data import splits
from trainer.data.splits import validation_count
from trainer.data.tasks import cut
from trainer.errors import ConfigError, UserError
from trainer.results.folder import write_results
from trainer.results.metrics import shot
from trainer.results.rows import RunResult
from trainer.training.options import DeviceOptions
from trainer.training.session import train


def natural_run(tasks: int = 10, kind: str = "lfs") -> RunConfig:
    """The class of a single image is learnt first, then the class of three, and so on."""
    return tiny_run(
        "finetune",
        data={"imbalance": {}, "evaluation": {"split": "validation"}},
        protocol={"kind": kind, "tasks": tasks, "class_order": {"classes": tuple(reversed(range(10)))}},
        optim={"epochs": 1},
    )


def trained(config: RunConfig) -> RunResult:
    task_stream = cut(natural_source(), config.data, config.protocol)
    (result,) = train([config], DeviceOptions(device="cpu"), task_stream=task_stream)
    return result


@pytest.mark.parametrize(("tasks", "kind"), [(3, "lfs"), (1, "lfs"), (5, "lfh")])
def test_shots_and_counts_are_those_of_the_images(tasks: int, kind: str) -> None:
    result = trained(natural_run(tasks, kind))
    last = [row for row in result.classes if row.task == result.tasks_done - 1]
    assert len(last) == 10
    for row in last:
        available = NATURAL[row.class_id]
        measured = validation_count(available, 25)
        assert (row.images, row.eval_images) == (available - measured, measured)
        assert row.shot == shot(row.images)
        assert (row.acc_pct is None) == (available == 1)
    assert sum(row.images_new for row in result.tasks) == sum(row.images for row in last)
    assert result.acc_many_pct is None
    assert None not in (result.acc_medium_pct, result.acc_few_pct)


def test_what_is_not_measured_is_null_in_what_is_stored(tmp_path: Path) -> None:
    result = trained(natural_run())
    write_results(tmp_path, [result])
    stored = open_results(tmp_path)
    tasks = stored.sql("SELECT acc_task_mean_pct, acc_by_task_pct FROM tasks ORDER BY task").rows()
    assert [row["acc_task_mean_pct"] for row in tasks] == [row.acc_task_mean_pct for row in result.tasks]
    assert [row["acc_by_task_pct"] for row in tasks] == [row.acc_by_task_pct for row in result.tasks]
    assert tasks[0] == {"acc_task_mean_pct": None, "acc_by_task_pct": [None]}
    (run,) = stored.sql("SELECT splits, data_evaluation_per_class FROM runs").rows()
    assert run == {"splits": result.splits, "data_evaluation_per_class": 25}
    assert run["splits"] == [
        "validation: 25 images a class where it has 125, otherwise a fifth: 1 to 12; 56 of 281 training images; "
        "none of class 9"
    ]


@given(
    counts=st.lists(st.integers(1, 60), min_size=10, max_size=10),
    imbalance=st.sampled_from([{}, {"order": "balanced"}, {"max_per_class": 20}, {"ratio": 3, "order": "ordered"}]),
    holdout=st.sampled_from([0.0, 0.1]),
    split=st.sampled_from(["test", "validation"]),
    has_test=st.booleans(),
)
def test_images_that_are_not_used_are_said(
    counts: list[int], imbalance: dict[str, Any], holdout: float, split: str, has_test: bool
) -> None:
    source = natural_source(counts, test=has_test)
    changes = {"imbalance": imbalance, "holdout_fraction": holdout, "evaluation": {"split": split}}
    config = tiny_run("finetune", data=changes, protocol={"tasks": 2})
    try:
        found = cut(source, config.data, config.protocol)
    except UserError:  # no image to measure on, or a ratio that leaves a class without any
        return
    apart = splits.split(source, config.data.evaluation)
    trained, available = int(found.counts_C.sum()), sum(map(len, apart.train_C))
    line = f"training: {trained} of {available} images; data.imbalance and data.holdout_fraction leave out the rest"
    assert found.said == (*apart.said, *([line] if trained < available else []))
    assert min(found.counts_C.tolist()) > 0
    if imbalance in ({}, {"order": "balanced"}) and not holdout:
        assert trained == available


def test_an_objective_that_nothing_measures_is_refused() -> None:
    config = natural_run()
    task_stream = cut(natural_source(), config.data, config.protocol)
    check_objective("acc_few_pct", task_stream)
    with pytest.raises(ConfigError, match=r"objective\.metric: acc_many_pct does not exist .*; allowed: acc_task_mean"):
        check_objective("acc_many_pct", task_stream)
