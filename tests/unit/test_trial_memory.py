"""A pack that is too large for the device: it is halved until it fits, and what ended before stays ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.methods import method_folder
from support.sweeps import space_file
from sweeper.execution.trial import Job, TrialError, train_pack
from sweeper.search.space import load_space

# Raises what CUDA raises where more members than a file beside it allows are trained together.
GREEDY = '''
import torch
from pathlib import Path
from trainer.losses.cross_entropy import cross_entropy
from trainer.methods.base import Method, hyperparameter

class Greedy(Method):
    """For tests."""
    paper = "none"
    weight: float = hyperparameter(1.0, "of the loss", per_member=True, ge=0)

    def loss(self, step):
        if step.task.members > int((Path(__file__).parent / "room").read_text()):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return {"ce": step.task.hyperparameters["weight"] * cross_entropy(step.logits_MBK, step.labels_MB)}
'''

SMALL = {"optim.epochs": 1, "optim.milestones": [], "data.imbalance.max_per_class": 20}


def trained(tmp_path: Path, room: int, weights: list[float]) -> list[dict[str, Any]]:
    """What the driver hears of one pack with two seeds."""
    folder = tmp_path / "methods"
    folder.mkdir(parents=True)
    (folder / "greedy.py").write_text(GREEDY)
    (folder / "room").write_text(str(room))
    with method_folder(folder):
        file = space_file(
            tmp_path,
            set=SMALL | {"method": {"name": "greedy"}},
            vary={"method.weight": {"type": "float", "low": 0.1, "high": 2.0}},
        )
        job = Job(load_space(file), str(tmp_path / "sweep"), None)
        pack = {number: job.space.configs({"method.weight": w}) for number, w in enumerate(weights)}
        heard: list[dict[str, Any]] = []
        train_pack(job, pack, heard.append)
    return heard


def ended(heard: list[dict[str, Any]]) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for report in heard:
        for one in report.get("ended", ()):
            assert one["number"] not in found, "a configuration ended twice"
            found[one["number"]] = [result["row"]["acc_task_mean_pct"] for result in one["results"]]
    return found


def test_halves_give_what_the_whole_gives(tmp_path: Path) -> None:
    weights = [0.5, 1.0, 1.5]
    whole = ended(trained(tmp_path / "large", 6, weights))
    halved = trained(tmp_path / "small", 4, weights)
    assert ended(halved) == whole
    assert len({report["pack"] for report in halved if "split" in report}) == 1
    assert len({report["pack"] for report in halved if "split" not in report}) == 2


def test_down_to_single_configurations(tmp_path: Path) -> None:
    heard = trained(tmp_path, 2, [0.5, 1.0, 1.5, 2.0])
    assert sorted(ended(heard)) == [0, 1, 2, 3]
    assert len({report["pack"] for report in heard if "split" not in report}) == 4


def test_what_does_not_fit_alone_is_said(tmp_path: Path) -> None:
    with pytest.raises(TrialError, match="out of memory: a configuration with 2 seeds"):
        trained(tmp_path, 1, [0.5, 1.0])
