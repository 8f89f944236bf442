"""Every method on 100 real classes at their most awkward, where ``$CIL_DATA`` names the folder that holds them."""

import math
import os
from pathlib import Path
from typing import Any

import pytest

from trainer.config.run_config import RunConfig
from trainer.methods.base import METHODS
from trainer.training.options import DeviceOptions
from trainer.training.session import train

pytestmark = pytest.mark.slow

TAILS: dict[str, dict[str, Any]] = {
    "20 tasks, some of 63 images, classes of 5": {"ratio": 100},
    "ratio 200, classes of 2": {"ratio": 200},
    "balanced": {"order": "balanced", "max_per_class": 20},
}


@pytest.mark.parametrize("name", METHODS.names())
@pytest.mark.parametrize("tail", TAILS)
def test_it_trains(name: str, tail: str) -> None:
    if not Path(os.environ.get("CIL_DATA") or "/nonexistent", "imagenet32-100").is_dir():
        pytest.skip("the set imagenet32-100 is not here: CIL_DATA does not name a folder that holds it")
    data = {"source": "parquet", "path": "${CIL_DATA}/imagenet32-100", "resize": 8, "crop": 8, "pad": 1}
    config = RunConfig.model_validate(
        {
            "data": {**data, "imbalance": TAILS[tail], "holdout_fraction": 0.1 if "63" in tail else 0.0},
            "protocol": {"kind": "lfs", "tasks": 20},
            "net": {"name": "small"},
            "method": {"name": name},
            "optim": {"epochs": 1, "milestones": [], "batch_size": 128},
        }
    )
    (result,) = train([config], DeviceOptions(device="cpu"))
    assert result.status == "finished", result.error
    assert all(math.isfinite(row.loss) for row in result.epochs)
    if "63" in tail:
        assert 63 in [row.images_new for row in result.tasks]
