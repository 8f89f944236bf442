"""The canonical run files: complete, up to date, and what the paper's protocol says."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import yaml

from trainer.runfile import dump_run, load_run

RUNS = Path(__file__).parent.parent.parent / "runs"
FILES = sorted(RUNS.glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_files_are_complete(file: Path) -> None:
    found = load_run(file)
    assert yaml.safe_load(file.read_text()) == yaml.safe_load(dump_run(found.config, found.provenance))


def test_files_are_up_to_date() -> None:
    wanted = runpy.run_path(str(RUNS / "make.py"))["contents"]()
    for name, content in wanted.items():
        assert (RUNS / name).read_text() == content, f"python runs/make.py writes {name} anew"
    promoted = [file for file in FILES if file.name not in wanted]
    assert all(load_run(file).provenance for file in promoted)


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
