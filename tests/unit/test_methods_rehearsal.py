"""iCaRL, EEIL, LUCIR and PODNet: classifiers, stages and coefficients as their papers have them."""

import functools
import math
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from support.runs import FEW_IMAGES, tiny_run
from trainer.distill.features import pooled_distance
from trainer.methods.icarl import Icarl
from trainer.nets.heads import CosineHead
from trainer.nets.network import Outputs
from trainer.nets.resnet import Maps
from trainer.rng import MemberStreams
from trainer.stages.stage import Embedding, Stage, Step, TaskContext, TaskImages
from trainer.training import loop
from trainer.training.options import DeviceOptions
from trainer.training.session import train
from trainer.training.state import State, new_learner

EXACT = DeviceOptions(device="cpu", precision="float64")


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def watch(
    method: str, hyperparameters: dict[str, Any] | None = None, **changes: Any
) -> list[tuple[Stage, TaskContext, Any, Any]]:
    """Every stage of a run: itself, its task, the pool's labels ``[M, N]``, and its last step with the terms."""
    found: list[tuple[Stage, TaskContext, Any, Any]] = []
    train_stage = loop.train_stage

    def watched(state: State, stage: Stage, task: TaskContext, images: TaskImages, *rest: Any) -> None:
        steps: list[Any] = []

        def loss(step: Step) -> dict[str, Tensor]:
            terms = stage.loss(step)
            scale = getattr(step.head, "scale_M", torch.ones(())).detach().clone()
            steps.append((step, {name: term.detach() for name, term in terms.items()}, scale))
            return terms

        labels_MN = images.labels_A[stage.pool(images)]
        train_stage(state, replace(stage, loss=loss), task, images, *rest)
        found.append((stage, task, labels_MN, steps))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainer.training.one_pass.train_stage", watched)
        train([tiny_run(method, hyperparameters, seed=seed, data=FEW_IMAGES, **changes) for seed in (0, 1)], EXACT)
    return found


# -- iCaRL -------------------------------------------------------------------------------------------------


def means_of(features_AD: Tensor, exemplars_ME: Tensor, labels_A: Tensor) -> dict[str, Tensor]:
    learner = new_learner([tiny_run("icarl", seed=s) for s in (0, 1)], 1, torch.device("cpu"), "float64")
    learner.network.grow(3, [0, 1], 0)

    def embed(index: Tensor) -> Embedding:
        return Embedding(features_AD[index], torch.zeros(*index.shape, 3))

    images = TaskImages(
        new_N=torch.arange(9),
        exemplars_ME=exemplars_ME,
        labels_A=labels_A,
        old=0,
        per_class=2,
        streams=MemberStreams((0, 1), ()),
        embed=embed,
    )
    Icarl().after_task(learner, images)
    return learner.method_state


def test_the_nearest_mean_of_exemplars_in_loops() -> None:
    labels_A = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
    features_AD = draw(9, 4) * torch.arange(1, 10).unsqueeze(1)
    exemplars_ME = torch.tensor([[0, 2, 3, 6, 7], [1, 2, 5, 8, 6]])
    method_state = means_of(features_AD, exemplars_ME, labels_A)
    query_MBD = draw(2, 20, 4, seed=1)
    none = torch.zeros(2, 20, 3)
    scores_MBK = Icarl().classify(Outputs(query_MBD, none, Maps(query_MBD, none, ())), method_state)
    for m in range(2):
        means = []
        for k in range(3):
            own = [features_AD[i] / features_AD[i].norm() for i in exemplars_ME[m].tolist() if labels_A[i] == k]
            mean = sum(own) / len(own)
            means.append(mean / mean.norm())
        for b in range(20):
            query = query_MBD[m, b] / query_MBD[m, b].norm()
            distances = [float((query - mean).square().sum()) for mean in means]
            assert int(scores_MBK[m, b].argmax()) == distances.index(min(distances))


def test_without_a_memory_the_head_decides_and_both_classifiers_agree() -> None:
    (result,) = train([tiny_run("icarl", data=FEW_IMAGES, memory={"per_class": 0})], EXACT)
    for row in result.tasks:
        assert row.phase_acc_others_pct == {"logits": row.phase_acc_task_mean_pct}


def test_the_heads_own_accuracy_is_that_of_the_same_training_read_otherwise() -> None:
    """Distillation off, the first task: the training is finetuning's, and so is what the head says."""
    (icarl,) = train([tiny_run("icarl", {"lambda": 0.0}, data=FEW_IMAGES, protocol={"tasks": 1})], EXACT)
    (plain,) = train([tiny_run("finetune", data=FEW_IMAGES, protocol={"tasks": 1})], EXACT)
    assert icarl.tasks[0].phase_acc_others_pct["logits"] == plain.tasks[0].phase_acc_task_mean_pct


def test_each_class_by_itself_distils_old_ones_and_labels_new_ones() -> None:
    _, task, _, steps = watch("icarl", {"classification": "sigmoid", "lambda": 1.0})[-1]
    step, terms, _ = steps[-1]
    m = task.old
    target_MBK = F.one_hot(step.labels_MB, task.seen).double()
    target_MBK[..., :m] = step.teacher_MBK.sigmoid()
    whole_M = F.binary_cross_entropy_with_logits(step.logits_MBK, target_MBK, reduction="none").sum(2).mean(1)
    torch.testing.assert_close(terms["bce"] + terms["kd"], whole_M.detach())


# -- EEIL --------------------------------------------------------------------------------------------------


def test_fine_tuning_has_as_many_images_of_new_classes_as_of_old_ones() -> None:
    stages = watch("eeil", optim={"epochs": 8}, protocol={"tasks": 3})
    assert [(stage.name, task.index) for stage, task, _, _ in stages] == [
        ("train", 0),
        ("train", 1),
        ("balanced", 1),
        ("train", 2),
        ("balanced", 2),
    ]
    for stage, task, labels_MN, _ in stages:
        if stage.name == "balanced":
            assert (stage.optim.epochs, stage.optim.lr, stage.optim.milestones) == (2, pytest.approx(0.001), ())
            for labels_N in labels_MN.tolist():
                counts = Counter(labels_N)
                assert sorted(counts) == list(range(task.seen))
                # Three exemplars a class, or all of a class with fewer.
                assert all(counts[k] == min(3, int(task.counts_K[k])) for k in counts)


def test_random_fine_tuning_takes_as_many_new_images_as_there_are_exemplars() -> None:
    stages = watch("eeil", {"balanced_new": "random"}, memory={"per_class": 1})
    for stage, task, labels_MN, _ in stages:
        if stage.name == "balanced":
            new_M = (labels_MN >= task.old).sum(1)
            assert new_M.tolist() == [task.old] * 2 == (labels_MN < task.old).sum(1).tolist()
            assert bool((labels_MN[0] != labels_MN[1]).any())


@pytest.mark.parametrize("skips", [False, True])
def test_only_the_last_task_is_left_out_and_only_before_the_fine_tuning(skips: bool) -> None:
    for stage, task, _, steps in watch("eeil", {"skip_last_task": skips}):
        distilled = task.index - (skips and stage.name == "train")
        assert ("kd" in steps[0][1]) == (distilled > 0)
        if distilled > 0:
            step, terms, _ = steps[-1]
            z, zt, total = step.logits_MBK.detach(), step.teacher_MBK, torch.zeros(2, dtype=torch.float64)
            start = 0
            for size in task.sizes[:distilled]:
                own, taught = ((t[..., start : start + size] / 2).softmax(2) for t in (z, zt))
                total += F.binary_cross_entropy(own, taught, reduction="none").mean((1, 2))
                start += size
            torch.testing.assert_close(terms["kd"], total)


# -- LUCIR and PODNet --------------------------------------------------------------------------------------


@functools.cache
def plain(method: str) -> list[tuple[Stage, TaskContext, Any, Any]]:
    return watch(method, protocol={"kind": "lfh", "tasks": 2})


def test_features_weigh_with_old_over_new_classes() -> None:
    for _, task, _, steps in plain("lucir"):
        step, terms, _ = steps[-1]
        if task.old:
            similarity_MB = F.cosine_similarity(step.features_MBD, step.out.teacher.features_MBD, dim=2)
            expected_M = 5 * math.sqrt(task.old / task.new) * (1 - similarity_MB).mean(1)
            torch.testing.assert_close(terms["features"], expected_M.detach())
        else:
            assert set(terms) == {"ce"}


def test_flat_and_spatial_weigh_with_all_over_new_classes() -> None:
    for _, task, _, steps in plain("podnet"):
        step, terms, _ = steps[-1]
        if task.old:
            growth, now, old = math.sqrt(task.seen / task.new), step.out, step.out.teacher
            assert len(now.maps.stage_outputs) == 3
            flat_M = (1 - F.cosine_similarity(now.features_MBD, old.features_MBD, dim=2)).mean(1)
            torch.testing.assert_close(terms["flat"], (growth * flat_M).detach())
            spatial_M = pooled_distance(now.maps.stage_outputs, old.maps.stage_outputs, 2)
            torch.testing.assert_close(terms["spatial"], (3 * growth * spatial_M).detach())
        else:
            assert set(terms) == {"ce"}


@pytest.mark.parametrize("method", ["lucir", "podnet"])
def test_logits_are_scaled_cosines_of_features_that_may_be_negative(method: str) -> None:
    for _, _, _, steps in plain(method):
        step, _, scale_M = steps[-1]
        assert bool((step.features_MBD < 0).any())
        assert bool((step.logits_MBK.abs() <= scale_M[:, None, None] + 1e-12).all())
    scales = [steps[-1][2] for _, _, _, steps in plain(method)]
    assert scales[0].tolist() != [1, 1]


def test_one_proxy_is_a_plain_cosine_and_several_are_weighed_by_their_softmax() -> None:
    x_MBD = draw(2, 3, 5)
    one, several = (CosineHead(2, 5, 4, proxies=proxies).double().requires_grad_(False) for proxies in (1, 3))
    one.weight_MKD.data, several.weight_MKD.data = draw(2, 4, 5, seed=1), draw(2, 4, 15, seed=2)
    found = one(x_MBD)
    for m in range(2):
        for b in range(3):
            for k in range(4):
                w = one.weight_MKD[m, k]
                assert float(found[m, b, k]) == pytest.approx(float(x_MBD[m, b] @ w / (x_MBD[m, b].norm() * w.norm())))
                cosines = [float(F.cosine_similarity(x_MBD[m, b], w, dim=0)) for w in several.weight_MKD[m, k].split(5)]
                total = sum(math.exp(c) for c in cosines)
                expected = sum(math.exp(c) / total * c for c in cosines)
                assert float(several(x_MBD)[m, b, k]) == pytest.approx(expected)


def test_the_margin_is_of_similarities_not_of_logits() -> None:
    _, task, _, steps = watch("podnet", {"classification": "nca", "margin": 0.3})[-1]
    step, terms, scale_M = steps[-1]
    s_MBK = (step.logits_MBK / scale_M[:, None, None]).detach()
    own_MBK = F.one_hot(step.labels_MB, task.seen).bool()
    own_MB = scale_M[:, None] * (s_MBK[own_MBK].view(2, -1) - 0.3)
    rivals_MB = (scale_M[:, None, None] * s_MBK).masked_fill(own_MBK, -math.inf).logsumexp(2)
    torch.testing.assert_close(terms["nca"], F.relu(rivals_MB - own_MB).mean(1))
