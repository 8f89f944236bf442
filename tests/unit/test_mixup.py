"""Whole images blended within a batch, and a step that sees the batch and its blend."""

from typing import Any

import pytest
import torch

from support.runs import tiny_run
from trainer.data.mix import Mixup, blended
from trainer.rng import MemberStreams
from trainer.training.options import DeviceOptions
from trainer.training.session import train

M, B, C = 2, 5, 3


def test_each_image_is_blended_with_one_of_its_members_batch() -> None:
    images = torch.rand(B, M * C, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    order_MB = torch.tensor([[4, 3, 2, 1, 0], [0, 2, 1, 4, 3]])
    share_M = torch.tensor([0.25, 1.0], dtype=torch.float64)
    found = blended(images, order_MB, share_M)
    for m, share in enumerate(share_M.tolist()):
        own = images[:, m * C : (m + 1) * C]
        torch.testing.assert_close(found[:, m * C : (m + 1) * C], share * own + (1 - share) * own[order_MB[m]])


def test_an_epochs_partners_are_permutations_of_its_batches() -> None:
    streams = MemberStreams((0, 1), (0, "train", 0))
    drawn = Mixup.drawn(streams, 12, 3, torch.device("cpu"))
    for number, span in enumerate((slice(0, 5), slice(5, 10), slice(10, 15))):
        order_MB, share_M = drawn.batch(number, span)
        assert order_MB.sort(1).values.tolist() == [list(range(len(range(12)[span])))] * 2
        assert ((share_M >= 0) & (share_M < 1)).all()
    alone = Mixup.drawn(MemberStreams((1,), (0, "train", 0)), 12, 3, torch.device("cpu"))
    assert torch.equal(alone.key_MN[0], drawn.key_MN[1])
    assert torch.equal(alone.share_MS[0], drawn.share_MS[1])
    assert len(drawn.share_MS.unique()) == 6


@pytest.mark.parametrize("name", ["gvalign", "ada_prior"])
def test_both_halves_count(name: str) -> None:
    """Each class has one image and a batch is one: it is blended with itself, and the loss counts twice."""
    one: dict[str, Any] = {
        "data": {"imbalance": {"order": "balanced", "max_per_class": 1}, "evaluation": {"split": "validation"}},
        "protocol": {"tasks": 1},
        "optim": {"epochs": 1, "batch_size": 1, "lr": 1e-12},
    }
    fields = {"mode": "posthoc"} if name == "ada_prior" else {}
    (result,) = train([tiny_run(name, fields, **one)], DeviceOptions(device="cpu", precision="float64"))
    terms = result.epochs[0].terms
    assert terms["mixup"] == pytest.approx(terms["ce"], rel=1e-5)  # batch norm magnifies rounding where nothing varies
