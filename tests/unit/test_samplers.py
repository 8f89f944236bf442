"""In which order images are visited: counts of classes and images, and each member by its own draws."""

from functools import partial

import pytest
import torch
from torch import Tensor

from trainer.data.samplers import Sampler, class_aware, mixed, oversampled, shuffled
from trainer.rng import MemberStreams

SIZES = [40, 12, 5, 2, 1]
STREAMS = MemberStreams((0, 7), (3, "train", 2))


def labels(sizes: list[int] = SIZES) -> Tensor:
    """Two members' pools of the same classes, each in its own order."""
    ordered_N = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return torch.stack(
        [ordered_N[torch.randperm(len(ordered_N), generator=torch.Generator().manual_seed(s))] for s in (0, 1)]
    )


SAMPLERS: dict[str, Sampler] = {
    "shuffled": shuffled,
    "oversampled": oversampled,
    "class_aware": class_aware,
    "mixed": partial(mixed, old=2, new_a_batch=4, old_a_batch=1),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_an_order_is_found_again_from_its_name_and_each_member_has_its_own(name: str) -> None:
    sampler = SAMPLERS[name]
    same_MN = labels()[:1].expand(2, -1)
    both_MN = sampler(same_MN, STREAMS)
    assert torch.equal(both_MN, sampler(same_MN, STREAMS))
    assert not torch.equal(both_MN[0], both_MN[1])
    assert not torch.equal(both_MN, sampler(same_MN, MemberStreams(STREAMS.seeds, (3, "train", 3))))
    for member, seed in enumerate(STREAMS.seeds):
        alone_1N = sampler(same_MN[:1], MemberStreams((seed,), STREAMS.where))
        assert torch.equal(alone_1N[0], both_MN[member])


@pytest.mark.parametrize("name", SAMPLERS)
def test_one_image_is_enough(name: str) -> None:
    order_MN = SAMPLERS[name](torch.full((2, 1), 4), STREAMS)
    assert order_MN.tolist() == [[0], [0]]


def test_shuffled_takes_every_image_once() -> None:
    order_MN = shuffled(labels(), STREAMS)
    assert torch.equal(order_MN.sort(1).values, torch.arange(sum(SIZES)).expand(2, -1))


@pytest.mark.parametrize("images_per_visit", [1, 4, 7])
def test_class_aware_visits_classes_equally_often(images_per_visit: int) -> None:
    labels_MN = labels()
    order_MN = class_aware(labels_MN, STREAMS, images_per_visit=images_per_visit)
    assert order_MN.shape == labels_MN.shape
    for found_N in labels_MN.gather(1, order_MN):
        counts_C = torch.bincount(found_N, minlength=len(SIZES))
        assert counts_C.max() - counts_C.min() <= images_per_visit
        cycle = images_per_visit * len(SIZES)
        for start in range(0, len(found_N) - cycle + 1, cycle):
            assert torch.bincount(found_N[start : start + cycle]).tolist() == [images_per_visit] * len(SIZES)
        whole = len(found_N) // images_per_visit * images_per_visit
        assert bool((found_N[:whole].view(-1, images_per_visit) == found_N[:whole:images_per_visit, None]).all())


def test_class_aware_goes_through_a_class_before_it_repeats_an_image() -> None:
    labels_MN = labels([30, 6, 3, 1])
    order_MN = class_aware(labels_MN, STREAMS, images_per_visit=4)
    for order_N, labels_N in zip(order_MN, labels_MN, strict=True):
        for position, size in enumerate([30, 6, 3, 1]):
            visits = order_N[labels_N[order_N] == position]
            times_N = torch.bincount(visits, minlength=len(labels_N))[labels_N == position]
            assert times_N.max() - times_N.min() <= 1
            assert len(visits[:size].unique()) == min(size, len(visits))


def test_class_aware_leaves_out_classes_that_are_not_there() -> None:
    labels_MN = torch.tensor([[5, 9, 9, 9, 9, 9, 9, 9]])
    found = labels_MN[0][class_aware(labels_MN, MemberStreams((0,), ()), images_per_visit=2)[0]]
    assert sorted(found.tolist()) == [5] * 4 + [9] * 4


@pytest.mark.parametrize(("power", "shares"), [(1.0, [0.5, 0.5]), (0.0, [0.9, 0.1]), (0.5, [0.75, 0.25])])
def test_oversampling_by_inverse_frequency(power: float, shares: list[float]) -> None:
    """Of 9:1, a class's share is ~ n ** (1 - power)."""
    labels_MN = torch.repeat_interleave(torch.arange(2), torch.tensor([9000, 1000])).expand(2, -1)
    order_MN = oversampled(labels_MN, STREAMS, power=power)
    assert order_MN.shape == labels_MN.shape
    for found_N in labels_MN.gather(1, order_MN):
        # Five standard deviations of 10,000 draws are 2.5 percent points at most.
        assert (torch.bincount(found_N) / len(found_N)).tolist() == pytest.approx(shares, abs=0.025)


def test_mixed_batches_keep_their_proportion() -> None:
    sizes = [3, 2, 10, 7, 1]
    labels_MN = labels(sizes)
    order_MN = mixed(labels_MN, STREAMS, old=2, new_a_batch=8, old_a_batch=2)
    is_old_MN = labels_MN.gather(1, order_MN) < 2
    # 18 new images: two whole batches of 8 + 2, then 2 new ones, which take one exemplar with them.
    assert order_MN.shape[1] == 23
    assert is_old_MN[:, :10].tolist() == is_old_MN[:, 10:20].tolist() == [[False] * 8 + [True] * 2] * 2
    assert is_old_MN[:, 20:].tolist() == [[False, False, True]] * 2
    for order_N, old_N in zip(order_MN, is_old_MN, strict=True):
        assert len(order_N[~old_N].unique()) == 18
        assert len(order_N[old_N].unique()) == 5


def test_mixed_without_exemplars_is_a_shuffle_of_the_new_images() -> None:
    labels_MN = labels()
    order_MN = mixed(labels_MN, STREAMS, old=0, new_a_batch=8, old_a_batch=2)
    assert torch.equal(order_MN.sort(1).values, torch.arange(sum(SIZES)).expand(2, -1))
