"""WA, IL2M and BiC: training that is corrected afterwards, and what their papers say the correction does."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from support.runs import FEW_IMAGES, tiny_run
from support.states import trained
from trainer.methods.bic import Bic
from trainer.methods.il2m import Il2m
from trainer.nets.correction import TaskAffine, align_new_rows
from trainer.nets.heads import LinearHead
from trainer.nets.network import Outputs
from trainer.nets.resnet import Maps
from trainer.rng import MemberStreams
from trainer.stages.learner import Learner
from trainer.stages.optim import OptimConfig
from trainer.stages.stage import Embedding, Stage, TaskContext, TaskImages
from trainer.training.state import new_learner

M, D, K, OLD = 2, 6, 5, 3


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def images(labels: list[int], old: int, exemplars: Tensor, embed: Callable[[Tensor], Embedding]) -> TaskImages:
    """All training images have these labels; those of classes from ``old`` on are new."""
    labels_A = torch.tensor(labels)
    return TaskImages(
        (labels_A >= old).nonzero().squeeze(1), exemplars, labels_A, old, 20, MemberStreams((0,) * M, (1,)), embed
    )


def outputs(logits_MBK: Tensor) -> Outputs:
    nothing = torch.empty(0)
    return Outputs(nothing, logits_MBK, Maps(nothing, nothing, ()))


# -- WA ----------------------------------------------------------------------------------------------------


def test_alignment_equals_the_mean_norms_and_touches_nothing_else() -> None:
    heads = [LinearHead(M, D, K).double() for _ in range(2)]
    for head in heads:
        head.load_state_dict({"weight_MKD": draw(M, K, D), "bias_MK": draw(M, K, seed=1)})
    aligned, before = heads
    align_new_rows(aligned, OLD, factor=1.5)
    norm_MK = aligned.weight_MKD.norm(dim=2)
    torch.testing.assert_close(norm_MK[:, OLD:].mean(1), 1.5 * norm_MK[:, :OLD].mean(1))
    torch.testing.assert_close(aligned.weight_MKD[:, :OLD], before.weight_MKD[:, :OLD], rtol=0, atol=0)
    torch.testing.assert_close(aligned.bias_MK, before.bias_MK, rtol=0, atol=0)
    cosine_MK = torch.cosine_similarity(aligned.weight_MKD, before.weight_MKD, dim=2)
    torch.testing.assert_close(cosine_MK, torch.ones_like(cosine_MK))


def test_every_later_task_ends_aligned_and_so_does_its_teacher() -> None:
    for task, tensors in enumerate(trained("wa")):
        norm_K = tensors["network/head.weight_MKD"][0].norm(dim=1)
        old = [0, 4, 7][task]
        if old:
            torch.testing.assert_close(norm_K[old:].mean(), norm_K[:old].mean())
        if task < 2:
            teacher = tensors["frozen/teacher/head.weight_MKD"]
            torch.testing.assert_close(teacher, tensors["network/head.weight_MKD"], rtol=0, atol=0)


@pytest.mark.parametrize("clip", [True, False])
def test_weights_are_negative_unless_they_are_clipped(clip: bool) -> None:
    lowest = min(float(tensors["network/head.weight_MKD"].min()) for tensors in trained("wa", {"clip_weights": clip}))
    assert (lowest >= 0) == clip


# -- IL2M --------------------------------------------------------------------------------------------------


def literal_il2m(
    scores: list[float], old: int, learnt: list[float], now: list[float], confidence_now: float, confidence: list[float]
) -> int:
    """The prediction for one image, word for word."""
    best = max(range(len(scores)), key=lambda k: scores[k])
    if best < old:
        return best
    rectified = list(scores)
    for k in range(old):
        rectified[k] = scores[k] * (learnt[k] / now[k]) * (confidence_now / confidence[k])
    return max(range(len(scores)), key=lambda k: rectified[k])


def after_tasks(logits_by_task: list[Tensor], labels: list[int], old: int, exemplars: Tensor) -> Learner:
    """What IL2M carries after two tasks, whose networks give the training images these logits ``[M, N, K]``."""
    runs = [tiny_run("il2m", seed=seed) for seed in range(M)]
    learner = new_learner(runs, 1, torch.device("cpu"), "float64")
    for start, kept, logits_MNK in zip((0, old), (exemplars[:, :0], exemplars), logits_by_task, strict=True):
        known = [k for k in labels if k < (old if start == 0 else K)]

        def embed(index: Tensor, logits_MNK: Tensor = logits_MNK) -> Embedding:
            index_MN = index.expand(M, -1)
            picked = logits_MNK.gather(1, index_MN.unsqueeze(2).expand(-1, -1, logits_MNK.shape[2]))
            return Embedding(picked, picked)

        stage = Stage("train", runs[0].optim, runs[0].method.loss)
        runs[0].method.after_stage(stage, learner, images(known, start, kept, embed))
    return learner


def test_rectified_predictions_are_those_of_the_paper() -> None:
    labels = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    exemplars = torch.tensor([[0, 2, 4], [1, 3, 5]])
    first_MNK, second_MNK = draw(M, 6, OLD) + 2, draw(M, 10, K, seed=1) + 1
    learner = after_tasks([first_MNK, second_MNK], labels, OLD, exemplars)
    tests_MBK = draw(M, 40, K, seed=2) + 1
    found_MB = Il2m().classify(outputs(tests_MBK), learner.method_state).argmax(2)
    changed = 0
    for m in range(M):
        learnt = [float(first_MNK[m, 2 * k : 2 * k + 2, k].mean()) for k in range(OLD)]
        now = [float(second_MNK[m, int(exemplars[m, k]), k]) for k in range(OLD)]
        confidence = [float(first_MNK[m].max(1).values.mean())] * OLD
        confidence_now = float(second_MNK[m, 6:].max(1).values.mean())
        for b in range(tests_MBK.shape[1]):
            expected = literal_il2m(tests_MBK[m, b].tolist(), OLD, learnt, now, confidence_now, confidence)
            assert found_MB[m, b] == expected
            changed += expected != int(tests_MBK[m, b].argmax())
    assert changed > 5


def test_without_exemplars_or_with_scores_as_they_were_nothing_is_rectified() -> None:
    labels = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    tests_MBK = draw(M, 40, K, seed=2)
    without = after_tasks([draw(M, 6, OLD), draw(M, 10, K)], labels, OLD, torch.empty(M, 0, dtype=torch.int64))
    same_MNK = torch.full((M, 10, K), 0.7, dtype=torch.float64)
    unchanged = after_tasks([same_MNK[:, :6, :OLD], same_MNK], labels, OLD, torch.tensor([[0, 2, 4]] * M))
    for learner in (without, unchanged):
        found_MBK = Il2m().classify(outputs(tests_MBK), learner.method_state)
        torch.testing.assert_close(found_MBK.argmax(2), tests_MBK.argmax(2))


def test_statistics_of_augmented_images_differ_where_training_augments_and_nothing_else_does() -> None:
    def states(statistics: str, augment: str) -> dict[str, Tensor]:
        return trained("il2m", {"statistics": statistics}, data={**FEW_IMAGES, "augment": augment, "flip": True})[-1]

    for augment, same in (("none", True), ("random_crop", False)):
        plain, augmented = (states(statistics, augment) for statistics in ("plain", "augmented"))
        assert plain.keys() == augmented.keys()
        for name, tensor in plain.items():
            of_statistics = any(word in name for word in ("learnt_score", "learnt_confidence", "factor"))
            assert torch.allclose(tensor, augmented[name], rtol=1e-12) == (same or not of_statistics), name


# -- BiC ---------------------------------------------------------------------------------------------------


def test_a_correction_that_has_not_learnt_changes_nothing_and_only_the_last_pair_learns() -> None:
    correction = TaskAffine(M).double()
    correction.grow(OLD, [0] * M, 0)
    correction.grow(K - OLD, [0] * M, 1)
    logits_MBK = draw(M, 4, K)
    torch.testing.assert_close(correction(logits_MBK), logits_MBK, rtol=0, atol=0)
    with torch.no_grad():
        correction.factor_MT[:] = torch.tensor([[2.0, 3.0], [4.0, 5.0]])
        correction.offset_MT[:] = torch.tensor([[0.5, -1.0], [0.0, 7.0]])
    corrected = correction(logits_MBK)
    torch.testing.assert_close(corrected[1, :, OLD:], 5 * logits_MBK[1, :, OLD:] + 7)
    torch.testing.assert_close(corrected[0, :, :OLD], 2 * logits_MBK[0, :, :OLD] + 0.5)
    corrected.sum().backward()
    for parameter in (correction.factor_MT, correction.offset_MT):
        assert parameter.grad is not None
        assert not parameter.grad[:, 0].any()
        assert parameter.grad[:, 1].all()


def test_images_are_set_aside_for_good_and_count_as_exemplars() -> None:
    counts = [1, 2, 4, 19, 30]
    labels = [k for k, n in enumerate(counts) for _ in range(n)]
    method = Bic()
    task = images(labels, 0, torch.empty(M, 0, dtype=torch.int64), lambda index: Embedding(index, index))
    counts_K, weights_M = torch.tensor(counts, dtype=torch.float64), torch.ones(M, dtype=torch.float64)
    hyperparameters = dict.fromkeys(method.per_member_fields(), weights_M)
    train, correct = method.plan(
        TaskContext(1, 1, 4, (1, 4), M, counts_K, counts_K, hyperparameters, OptimConfig(), torch.float64)
    )
    reserved = correct.pool(task)[0].tolist()
    assert [sum(labels[i] == k for i in reserved) for k in range(5)] == [0, 1, 2, 2, 2]
    assert not set(reserved) & set(train.pool(task)[0].tolist())
    assert set(reserved) | set(method.exemplar_candidates(task).tolist()) == set(range(len(labels)))
    kept = [min(method.exemplars_per_class(20), n - r) + r for n, r in zip(counts, [0, 1, 2, 2, 2], strict=True)]
    assert kept == [min(n, 20) for n in counts]


@pytest.mark.parametrize("places", [0, 1, 2, 20, 70, 100])
def test_places_set_aside_are_a_tenth_rounded_up_but_never_all(places: int) -> None:
    expected = max(0, min(math.ceil(places / 10), places - 1))
    assert places - Bic().exemplars_per_class(places) == expected


def test_the_second_stage_moves_the_last_pair_alone() -> None:
    first, second, third = trained("bic", memory={"per_class": 4})
    for name in ("network/correction.factor_MT", "network/correction.offset_MT"):
        assert first[name].shape == (1, 1)
        torch.testing.assert_close(third[name][:, :2], second[name], rtol=0, atol=0)
        assert not torch.equal(third[name][:, 2:], first[name])
    torch.testing.assert_close(first["network/correction.factor_MT"], torch.ones(1, 1, dtype=torch.float64))
