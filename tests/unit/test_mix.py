"""Boxes that are pasted: against pixels in loops, and the statistics of many of them."""

import math

import pytest
import torch
from torch import Tensor

from trainer.data.long_tail import profile
from trainer.data.mix import BoxMix
from trainer.rng import MemberStreams

ALWAYS = BoxMix(probability=1.0, first_epoch=0, stop_epoch=1)
COUNTS = torch.tensor(profile(100, 500, 100))


def many_boxes(boxes: int) -> Tensor:
    """The shares that are left of 32 x 32 images, by the box: each member has its own."""
    uniforms = MemberStreams((0,), ("boxes",)).uniform("box", boxes, 4)[0]
    blank = torch.zeros(1, boxes, 32, 32, dtype=torch.uint8)
    pasted, share_M = ALWAYS.paste(blank, blank + 1, uniforms)
    torch.testing.assert_close(1 - pasted[0].double().mean((1, 2)), share_M)
    return share_M


def test_the_statistics_of_boxes() -> None:
    area = 1 - many_boxes(60_000)
    assert float(area.mean()) == pytest.approx(0.299, abs=0.003)
    assert float((area == 0).double().mean()) == pytest.approx(0.004, abs=0.001)
    # An odd side loses a pixel: no image is replaced whole.
    assert float(area.max()) == 900 / 1024


def test_a_box_pixel_by_pixel() -> None:
    height, width, members, channels = 8, 12, 200, 3
    generator = torch.Generator().manual_seed(0)
    images, partners = torch.rand(2, 2, members * channels, height, width, generator=generator)
    uniforms = torch.rand(members, 4, generator=generator)
    before = images.clone()
    found, share_M = BoxMix(0.5, 0, 1).paste(images, partners, uniforms)
    torch.testing.assert_close(images, before, rtol=0, atol=0)
    for m, (coin, left, v, u) in enumerate(uniforms.tolist()):
        wanted = before[:, m * channels : (m + 1) * channels].clone()
        replaced = 0
        if coin < 0.5:
            rows, columns = (int(side * math.sqrt(1 - left)) // 2 for side in (height, width))
            middle, centre = int(v * height), int(u * width)
            for i in range(max(0, middle - rows), min(height, middle + rows)):
                for j in range(max(0, centre - columns), min(width, centre + columns)):
                    wanted[:, :, i, j] = partners[:, m * channels : (m + 1) * channels, i, j]
                    replaced += 1
        torch.testing.assert_close(found[:, m * channels : (m + 1) * channels], wanted, rtol=0, atol=0)
        assert float(share_M[m]) == pytest.approx(1 - replaced / (height * width))


def test_members_may_be_mixed_with_their_own_probability() -> None:
    images = torch.zeros(1, 3, 8, 8)
    uniforms = torch.tensor([[0.4, 0.2, 0.5, 0.5]]).expand(3, 4)
    _, share_M = BoxMix(torch.tensor([0.0, 0.3, 0.5]), 0, 1).paste(images, images + 1, uniforms)
    assert (share_M < 1).tolist() == [False, False, True]


def test_half_of_the_batches_are_mixed() -> None:
    uniforms = MemberStreams((0,), ("coins",)).uniform("box", 4000, 4)[0]
    blank = torch.zeros(1, 4000, 8, 8)
    _, share_M = BoxMix(0.5, 0, 1).paste(blank, blank, uniforms)
    # 1 box in 16 of so small an image is empty.
    assert float((share_M < 1).double().mean()) == pytest.approx(0.5 * 15 / 16, abs=0.03)


def test_mixed_epochs() -> None:
    mix = BoxMix(0.5, first_epoch=4, stop_epoch=197)
    assert [mix.active(epoch) for epoch in (0, 3, 4, 160, 196, 197, 199)] == [
        False,
        False,
        True,
        True,
        True,
        False,
        False,
    ]


def test_rare_classes_gain_label_mass() -> None:
    """Of CIFAR100-LT, given that all is mixed: what the first and the last class have of the labels."""
    epochs, batch = 30, 128
    streams = MemberStreams(tuple(range(epochs)), ("epoch",))
    labels_N = torch.repeat_interleave(torch.arange(100), COUNTS)
    labels_MN = labels_N.expand(epochs, -1)
    own_MN = labels_MN.gather(1, streams.permutation("shuffle", len(labels_N)))
    pasted_MN = labels_MN.gather(1, ALWAYS.partners(labels_MN, streams))
    batches = math.ceil(len(labels_N) / batch)
    blank = torch.zeros(1, epochs * batches, 32, 32, dtype=torch.uint8)
    _, share = ALWAYS.paste(blank, blank, ALWAYS.uniforms(streams, batches).flatten(0, 1))
    share_MN = share.view(epochs, batches).repeat_interleave(batch, 1)[:, : len(labels_N)]
    mass_C = torch.zeros(100, dtype=torch.float64)
    mass_C.index_add_(0, own_MN.flatten(), share_MN.flatten())
    mass_C.index_add_(0, pasted_MN.flatten(), (1 - share_MN).flatten())
    mass_C /= mass_C.sum()
    before_C = COUNTS / COUNTS.sum()
    assert (float(before_C[0]), float(before_C[-1])) == pytest.approx((0.0461, 0.00046), abs=5e-5)
    assert float(mass_C[0]) == pytest.approx(0.0353, abs=0.0005)
    assert float(mass_C[-1]) == pytest.approx(0.00331, abs=0.0002)


def test_partners_are_drawn_evenly_over_classes_and_by_power() -> None:
    labels_MN = torch.repeat_interleave(torch.arange(2), torch.tensor([9000, 1000])).expand(2, -1)
    streams = MemberStreams((0, 1), ())
    for power, rare in ((0.0, 0.1), (1.0, 0.5), (2.0, 0.9)):
        found = labels_MN.gather(1, BoxMix(0.5, 0, 1, power).partners(labels_MN, streams))
        assert float(found.double().mean()) == pytest.approx(rare, abs=0.02)
