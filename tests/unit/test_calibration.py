"""Top-5 accuracy and calibration, against literal restatements, and what runs report of them."""

import numpy as np
import pytest
import torch

from support.runs import FEW_IMAGES, tiny_run
from trainer.methods.base import METHODS
from trainer.results import metrics
from trainer.training.evaluate import Calibration
from trainer.training.options import DeviceOptions
from trainer.training.session import train

CPU = DeviceOptions(device="cpu")


def literal_error_pct(confidence_N: np.ndarray, correct_N: np.ndarray) -> float:
    """Guo et al., ICML 2017, Eq. 3, a bin at a time."""
    total = 0.0
    for low, high in zip(np.linspace(0, 1, 16)[:-1], np.linspace(0, 1, 16)[1:], strict=True):
        inside = (confidence_N > low) & (confidence_N <= high)
        if inside.any():
            total += inside.mean() * abs(correct_N[inside].mean() - confidence_N[inside].mean())
    return 100 * float(total)


def test_the_calibration_error_is_that_of_the_paper() -> None:
    logits_MBK = 3 * torch.randn(2, 500, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels_MB = torch.randint(7, (2, 500), generator=torch.Generator().manual_seed(1))
    predicted_MB, probabilities_MBK = logits_MBK.argmax(2), logits_MBK.softmax(2)
    hits_MB = predicted_MB == labels_MB
    parts = [
        Calibration.of(probabilities_MBK[:, cut], hits_MB[:, cut], predicted_MB[:, cut])
        for cut in (slice(0, 123), slice(123, None))
    ]
    found = parts[0].plus(parts[1])
    assert found.images_MJ.sum(1).tolist() == [500, 500]
    for member in range(2):
        expected = literal_error_pct(probabilities_MBK[member].amax(1).numpy(), hits_MB[member].numpy())
        assert found.error_pct(member) == pytest.approx(expected, abs=1e-9)


def test_what_cannot_be_measured_is_null() -> None:
    assert metrics.calibration_error([0.0] * metrics.BINS, 0) is None
    assert metrics.calibration_error([float("nan")], 3) is None
    assert metrics.class_mean([1, 0, 3], [2, 0, 3]) == 75


@pytest.mark.parametrize("name", METHODS.names())
def test_every_method_reports_both_where_it_can(name: str) -> None:
    config = tiny_run(name, data=FEW_IMAGES, optim={"epochs": 1})
    (result,) = train([config], CPU)
    first, *later = result.tasks
    assert first.classes_seen < 6
    assert first.acc_top5_pct is None
    assert all(row.acc_top5_pct is not None and row.acc_top5_pct >= row.phase_acc_class_weighted_pct for row in later)
    cosines = name in {"icarl", "tal"}
    assert all((row.ece_pct is None) == cosines for row in result.tasks)
    assert (result.acc_top5_pct, result.ece_pct) == (later[-1].acc_top5_pct, later[-1].ece_pct)
    if not cosines:
        assert 0 <= result.ece_pct <= 100


@pytest.mark.parametrize(
    ("name", "hyperparameters"),
    [("il2m", {"scores": "softmax"}), ("ldam", {}), ("class_balanced", {"form": "softmax"})],
)
def test_probabilities_sum_to_one(name: str, hyperparameters: dict[str, object]) -> None:
    method = tiny_run(name, hyperparameters).method
    scores_MNK = torch.rand(2, 4, 7, generator=torch.Generator().manual_seed(0))
    found = method.probabilities(scores_MNK, {"scale_M": torch.tensor([30.0, 5.0])})
    torch.testing.assert_close(found.sum(2), torch.ones(2, 4))
    assert torch.equal(found.argmax(2), scores_MNK.argmax(2))
