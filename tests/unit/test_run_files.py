"""The canonical run files: complete, up to date, and what the paper's protocol says."""

from collections import Counter
from itertools import accumulate, product
from pathlib import Path

import pytest
import yaml

from benchmarks.paper.__main__ import main
from benchmarks.paper.cells import Choice, cells
from benchmarks.paper.tables import TABLES
from trainer.config.files import dump_run, load_run
from trainer.config.run_config import RunConfig
from trainer.data.long_tail import tail_counts
from trainer.data.splits import holdout_count
from trainer.data.tasks import class_order, task_sizes
from trainer.results.metrics import shot

RUNS = Path(__file__).parent.parent.parent / "runs"
FILES = sorted(RUNS.rglob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(RUNS).as_posix())
def test_files_are_complete(file: Path) -> None:
    found = load_run(file)
    assert yaml.safe_load(file.read_text()) == yaml.safe_load(dump_run(found.config, found.provenance))


@pytest.mark.parametrize("name", ["cifar100_lt", "imagenet_subset_lt", "food101_lt"])
def test_the_papers_settings(name: str) -> None:
    for protocol, (kind, tasks) in {
        "lfs10": ("lfs", 10),
        "lfs20": ("lfs", 20),
        "lfh5": ("lfh", 5),
        "lfh10": ("lfh", 10),
    }.items():
        config = load_run(RUNS / f"{name}_{protocol}.yaml").config
        assert (config.protocol.kind, config.protocol.tasks) == (kind, tasks)
        assert config.data.imbalance.ratio == 100
        assert config.memory.per_class == 20
        small = name == "cifar100_lt"
        assert config.net.name == ("resnet32" if small else "resnet18")
        assert (config.optim.epochs, config.optim.milestones) == ((160, (80, 120)) if small else (90, (30, 60)))
        assert config.optim.weight_decay == (5e-4 if small else 1e-4)
        method = config.method.model_dump(by_alias=True)
        assert (method["alpha"], method["lambda"], method["temperature"]) == (1.0, 0.7, 2.0)


@pytest.mark.parametrize(
    ("name", "available", "total", "first_classes", "phases"),
    [
        ("cifar100_lt_lfs10", 500, 10847, 10, [590, 1082, 1086, 1193, 768, 803, 1190, 1213, 1343, 490]),
        ("cifar100_lt_lfh5", 500, 10847, 50, [4719]),
        ("imagenet_subset_lt_lfs20", 1300, 28281, 5, []),
        ("food101_lt_lfs10", 750, 16454, 11, []),
    ],
)
def test_the_papers_images(name: str, available: int, total: int, first_classes: int, phases: list[int]) -> None:
    """What the files' own fields make of data sets with so many images a class."""
    config = load_run(RUNS / f"{name}.yaml").config
    classes = 101 if config.data.source == "food101" else 100
    order = class_order(classes, config.protocol.class_order)
    counts = tail_counts([available] * classes, order, config.data.imbalance)
    assert sum(counts) == total
    left = [counts[label] - holdout_count(counts[label], config.data.holdout_fraction) for label in order]
    sizes = task_sizes(classes, config.protocol)
    assert sum(sizes) == classes
    found = [sum(left[end - size : end]) for end, size in zip(accumulate(sizes), sizes, strict=True)]
    assert found[: len(phases)] == phases
    assert sizes[0] == first_classes


def test_food101_is_learnt_in_its_own_order() -> None:
    order = class_order(101, load_run(RUNS / "food101_lt_lfs10.yaml").config.protocol.class_order)
    assert order[:5] == (26, 86, 2, 55, 75)


TABLE_2 = {
    100: (10_847, [500, 477, 455, 434, 415, 396], [6, 6, 5, 5, 5, 5], (35, 35, 30), 85),
    50: (12_608, [500], [12, 11, 11, 10, 10, 10], (41, 41, 18), 99),
    10: (19_573, [500], [50], (69, 31, 0), 153),
}
"""by ratio: images, the first and the last classes' images, many-, medium- and few-shot classes, steps an epoch"""


@pytest.mark.parametrize("ratio", TABLE_2)
def test_table_2(ratio: int) -> None:
    """Every system has the same images and schedule, but for its own fields."""
    total, head, tail, shots, steps = TABLE_2[ratio]
    column = f"ratio {ratio}"
    found = [cell for cell in cells(TABLES["table2"], Choice(seeds=(0,))) if cell.column.label == column]
    configs = [cell.configs[0] for cell in found]
    assert len({config.run_id for config in configs}) == len(found) == 13
    config = configs[0]
    assert all(c.model_copy(update={"method": config.method}) == config for c in configs)
    order = class_order(100, config.protocol.class_order)
    counts = tail_counts([500] * 100, order, config.data.imbalance)
    assert order == tuple(range(100))
    assert sum(counts) == total
    assert (counts[: len(head)], counts[-len(tail) :]) == (head, tail)
    by_shot = Counter(shot(count) for count in counts)
    assert (by_shot["many"], by_shot["medium"], by_shot["few"]) == shots
    assert -(-total // config.optim.batch_size) == steps
    assert task_sizes(100, config.protocol) == (100,)
    assert (config.data.augment, config.data.pad, config.data.crop, config.data.holdout_fraction) == (
        "random_crop",
        4,
        32,
        0,
    )
    assert (config.optim.epochs, config.optim.momentum, config.optim.weight_decay) == (200, 0.9, 2e-4)
    assert (config.net.name, config.net.shortcut, config.net.init) == ("resnet32", "pad", "fan_in")
    assert config.data.evaluation.split == "test"


def written(table: str, folder: Path, *arguments: str) -> dict[str, RunConfig]:
    """The run files that the command writes for a table, by the name of the file."""
    assert main([table, "--write-run-files", str(folder), *arguments]) == 0
    return {file.stem: load_run(file).config for file in sorted(folder.glob("*.yaml"))}


def test_table_3(tmp_path: Path) -> None:
    """Every combination of its switches, all else equal; one that is the method is the canonical file."""
    switches = ("kd", "group", "reweight_kd")
    found = written("table3", tmp_path) | written("table3", tmp_path / "small", "--data", "imagenet32_lt")
    for prefix in (
        *("food101_lt_lfs10", "food101_lt_lfs20", "imagenet_subset_lt_lfh5", "imagenet_subset_lt_lfh10"),
        *("imagenet32_lt_lfs10", "imagenet32_lt_lfh5"),
    ):
        base = load_run(RUNS / f"{prefix}.yaml").config
        configs = [config for name, config in found.items() if name.startswith(f"{prefix}_")]
        assert len({config.run_id for config in configs}) == 13
        assert base.run_id in {config.run_id for config in configs}
        seen = set()
        for config in configs:
            method = config.as_dict()["method"]
            assert config.model_copy(update={"method": base.method}) == base
            assert (method["beta"], method["task_ratio"]) == (
                ("one", "none") if method["group"] == "none" else ("norm", "code")
            )
            seen.add(tuple(method[switch] for switch in switches))
        everything = set(product(("none", "kd", "dakd"), ("none", "joint", "decoupled"), (False, True)))
        assert {(kd, group, twice and "none" not in (kd, group)) for kd, group, twice in everything} == seen


def test_fig_5(tmp_path: Path) -> None:
    """Each distillation in the place of the method's own."""
    found = written("fig5", tmp_path, "--data", "cifar100_lt,imagenet32_lt", "--columns", "lfs10")
    for stem in ("cifar100_lt_lfs10", "imagenet32_lt_lfs10"):
        base = load_run(RUNS / f"{stem}.yaml").config
        own = {name.removeprefix(f"{stem}_"): config for name, config in found.items() if name.startswith(stem)}
        assert sorted(own) == ["bkd", "dakd", "dckd", "dpkd", "kd", "mkd"]
        for kd, config in own.items():
            assert config == base.model_copy(update={"method": base.method.model_copy(update={"kd": kd})})


def test_table_1(tmp_path: Path) -> None:
    """Every system, on what the canonical file has."""
    found = written("table1", tmp_path, "--data", "cifar100_lt", "--columns", "lfs10")
    base = load_run(RUNS / "cifar100_lt_lfs10.yaml").config
    assert len({config.run_id for config in found.values()}) == len(found) == 13
    assert all(config.data == base.data and config.protocol == base.protocol for config in found.values())
