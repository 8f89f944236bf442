"""Exemplars: herding against a loop over images, and random choices."""

import pytest
import torch
from torch import Tensor

from support.runs import tiny_run
from trainer.stages.exemplars import Candidates, MemoryConfig, herding, random, reduce
from trainer.training.options import DeviceOptions
from trainer.training.session import train

SIZES = [7, 1, 12, 4]
FIRST = 10
M, D = 3, 5


def labels() -> Tensor:
    """Of a task's images, classes mixed."""
    ordered = torch.repeat_interleave(torch.arange(FIRST, FIRST + len(SIZES)), torch.tensor(SIZES))
    return ordered[torch.randperm(len(ordered), generator=torch.Generator().manual_seed(1))]


def candidates() -> Candidates:
    return Candidates.of(labels(), FIRST, FIRST + len(SIZES))


def features() -> Tensor:
    return torch.randn(M, sum(SIZES), D, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def herd_in_a_loop(features_ND: Tensor, members: list[int], keep: int) -> list[int]:
    """One class of one run, image by image, as the algorithm is written."""
    f = [features_ND[i] / features_ND[i].norm() for i in members]
    mean = torch.stack(f).mean(0)
    chosen: list[int] = []
    for k in range(1, min(keep, len(f)) + 1):
        best, nearest = -1, float("inf")
        for i in range(len(f)):
            if i not in chosen:
                together = (f[i] + sum((f[s] for s in chosen), torch.zeros_like(mean))) / k
                distance = float((mean - together).norm())
                if distance < nearest:
                    best, nearest = i, distance
        chosen.append(best)
    return [members[i] for i in chosen]


@pytest.mark.parametrize("keep", [0, 1, 3, 5, 100])
def test_herding_equals_the_loop(keep: int) -> None:
    found_ME = herding(features(), candidates(), keep)
    for member in range(M):
        expected: list[int] = []
        for position in range(len(SIZES)):
            of_class = torch.nonzero(labels() == FIRST + position).flatten().tolist()
            expected += herd_in_a_loop(features()[member], of_class, keep)
        assert found_ME[member].tolist() == expected


@pytest.mark.parametrize("spread", [1e-1, 1e-3, 1e-5])
def test_herding_equals_the_loop_however_alike_the_images_of_a_class_are(spread: float) -> None:
    alike_MND = 1 + spread * torch.randn(1, 100, D, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    of_one = Candidates.of(torch.zeros(100, dtype=torch.int64), 0, 1)
    assert herding(alike_MND, of_one, 20)[0].tolist() == herd_in_a_loop(alike_MND[0], list(range(100)), 20)


@pytest.mark.parametrize("spread", [1.0, 1e-3, 1e-5])
def test_of_two_images_the_first_is_taken(spread: float) -> None:
    """Both are as near to their mean; rounding does not choose."""
    pairs_MND = 1 + spread * torch.randn(50, 2, 8, generator=torch.Generator().manual_seed(3))
    both = Candidates.of(torch.zeros(2, dtype=torch.int64), 0, 1)
    assert herding(pairs_MND, both, 1).flatten().tolist() == [0] * 50


def test_a_class_with_fewer_images_than_places_keeps_them_all() -> None:
    for kept_ME in (herding(features(), candidates(), 100), random(candidates(), 100, [0, 1, 2], task=0)):
        assert all(sorted(row) == list(range(sum(SIZES))) for row in kept_ME.tolist())


def test_members_keep_the_same_number_of_each_class() -> None:
    kept_ME = random(candidates(), 3, [0, 1, 2], task=0)
    for row in labels()[kept_ME]:
        assert torch.bincount(row - FIRST).tolist() == [min(3, size) for size in SIZES]


def test_random_choices_follow_seed_and_task_and_nothing_else() -> None:
    alone = random(candidates(), 3, [7], task=2)
    assert torch.equal(random(candidates(), 3, [4, 7], task=2)[1:], alone)
    assert not torch.equal(random(candidates(), 3, [8], task=2), alone)
    assert not torch.equal(random(candidates(), 3, [7], task=3), alone)


def test_random_choices_are_uniform() -> None:
    draws = 2000
    kept_ME = random(candidates(), 3, list(range(draws)), task=0)
    times_N = torch.bincount(kept_ME.flatten(), minlength=sum(SIZES))
    for position, size in enumerate(SIZES):
        share = min(3, size) / size
        spread = (share * (1 - share) / draws) ** 0.5
        rates = times_N[labels() == FIRST + position] / draws
        assert (rates - share).abs().max() <= 5 * spread


# -- a total -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0, 1, 3, 5, 100])
def test_a_smaller_memory_holds_what_it_would_have_chosen(keep: int) -> None:
    for many_ME, few_ME in (
        (herding(features(), candidates(), 5), herding(features(), candidates(), min(keep, 5))),
        (random(candidates(), 5, [0, 1, 2], task=0), random(candidates(), min(keep, 5), [0, 1, 2], task=0)),
    ):
        assert torch.equal(reduce(many_ME, labels(), keep), few_ME)


def test_an_empty_memory_stays_empty() -> None:
    assert reduce(torch.empty(M, 0, dtype=torch.int64), labels(), 3).shape == (M, 0)


def test_a_total_is_shared_evenly_by_the_classes_seen() -> None:
    memory = MemoryConfig(total=25)
    assert [memory.quota(classes) for classes in (0, 1, 4, 10, 25, 26)] == [25, 25, 6, 2, 1, 0]
    assert MemoryConfig(per_class=7).quota(1000) == 7


@pytest.mark.parametrize("method", ["finetune", "bic"])
def test_a_run_never_holds_more_than_its_total(method: str) -> None:
    (result,) = train([tiny_run(method, memory={"total": 25})], DeviceOptions(device="cpu"))
    kept = [[row.exemplars for row in result.classes if row.task == task] for task in range(3)]
    images = [row.images for row in result.classes if row.task == 2]
    seen = [len(exemplars) for exemplars in kept]
    assert kept == [[min(n, 25 // classes) for n in images[:classes]] for classes in seen]
    replayed = [row.images_memory for row in result.tasks]
    assert replayed[0] == 0
    if method == "finetune":  # BiC sets some of them aside
        assert replayed[1:] == [sum(exemplars) for exemplars in kept[:-1]]
    assert all(0 < number <= 25 for number in replayed[1:])


def test_a_total_with_room_for_all_is_as_many_places_a_class() -> None:
    each, whole = (
        train([tiny_run("gradient_reweighting", memory=memory)], DeviceOptions(device="cpu"))[0]
        for memory in ({"per_class": 1000}, {"total": 10_000})
    )
    assert [row.loss for row in each.epochs] == [row.loss for row in whole.epochs]
    assert each.acc_task_mean_pct == whole.acc_task_mean_pct
