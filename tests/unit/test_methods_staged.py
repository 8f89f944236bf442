"""SS-IL, FOSTER and MAF-DRC: their losses in loops, and which networks their stages move and which they leave."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from support.runs import tiny_run
from support.states import checkpoints, trained
from trainer.data.samplers import mixed
from trainer.distill.kd import kd
from trainer.distill.taskwise import taskwise_kl
from trainer.losses.class_weights import effective_number_weights
from trainer.losses.cross_entropy import cross_entropy
from trainer.losses.separated import separated_cross_entropy
from trainer.methods.foster import Foster
from trainer.methods.maf_drc import MafDrc, branch_cross_entropy, decayed
from trainer.nets import resnet
from trainer.nets.heads import LinearHead
from trainer.nets.network import Network, Outputs
from trainer.nets.resnet import Maps
from trainer.results.history import History
from trainer.rng import MemberStreams
from trainer.stages.learner import Learner
from trainer.stages.optim import OptimConfig
from trainer.stages.stage import Embedding, Step, TaskContext, TaskImages, new_only
from trainer.training.state import new_learner

M, B, K, OLD = 2, 6, 5, 3
LABELS = torch.tensor([[0, 3, 1, 4, 4, 2], [3, 3, 4, 4, 3, 4]])  # the second member's batch has no exemplar
T_M = torch.tensor([1.0, 2.5], dtype=torch.float64)
_NOTHING = torch.empty(0, dtype=torch.int64)
NO_IMAGES = TaskImages(
    _NOTHING, _NOTHING, _NOTHING, OLD, 0, MemberStreams((0,), ()), lambda index: Embedding(index, index)
)
COUNTS = torch.tensor([40.0, 9.0, 3.0, 25.0, 6.0], dtype=torch.float64)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def log_softmax(values: list[float], of: int) -> float:
    return values[of] - math.log(sum(math.exp(v) for v in values))


def context(hyperparameters: dict[str, list[float]]) -> TaskContext:
    kept_K = COUNTS.clone()
    kept_K[:OLD].clamp_(max=5)
    return TaskContext(
        index=1,
        old=OLD,
        new=K - OLD,
        sizes=(2, 1, 2),
        members=M,
        counts_K=COUNTS,
        kept_K=kept_K,
        hyperparameters={name: torch.tensor(values, dtype=torch.float64) for name, values in hyperparameters.items()},
        optim=OptimConfig(),
        dtype=torch.float64,
    )


def step(task: TaskContext, logits_MBK: Tensor, teacher_MBK: Tensor, extra: dict[str, Tensor]) -> Step:
    nothing = torch.empty(0)
    maps = Maps(nothing, nothing, ())
    out = Outputs(nothing, logits_MBK, maps, Outputs(nothing, teacher_MBK, maps), extra)
    network = Network(resnet.build("small", 1, [0] * M), {"head": LinearHead(M, 4, K)})
    return Step(out, LABELS, task, {}, network)


# -- SS-IL -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mean", ["images", "groups"])
def test_the_separated_softmax_word_for_word(mean: Any) -> None:
    logits_MBK = draw(M, B, K)
    found_M = separated_cross_entropy(logits_MBK, LABELS, OLD, mean)
    for m in range(M):
        groups: dict[bool, list[float]] = {True: [], False: []}
        for b in range(B):
            y, z = int(LABELS[m, b]), logits_MBK[m, b].tolist()
            groups[y < OLD].append(-log_softmax(z[:OLD], y) if y < OLD else -log_softmax(z[OLD:], y - OLD))
        if mean == "images":
            expected = sum(groups[True] + groups[False]) / B
        else:
            expected = sum(sum(losses) / len(losses) for losses in groups.values() if losses)
        assert float(found_M[m]) == pytest.approx(expected, abs=1e-12)


def test_exemplars_pull_at_old_classes_alone_and_new_images_at_new_ones() -> None:
    logits_MBK = draw(M, B, K).requires_grad_()
    separated_cross_entropy(logits_MBK, LABELS, OLD).sum().backward()
    grad_MBK = logits_MBK.grad
    assert grad_MBK is not None
    old_MB = LABELS < OLD
    assert not grad_MBK[old_MB][:, OLD:].any()
    assert not grad_MBK[~old_MB][:, :OLD].any()
    assert grad_MBK[old_MB][:, :OLD].all()
    assert grad_MBK[~old_MB][:, OLD:].all()


def test_distillation_by_task_word_for_word() -> None:
    own, teacher, sizes = draw(M, B, OLD), draw(M, B, OLD, seed=1), [2, 1]
    found_M = taskwise_kl(own, teacher, sizes, T_M)
    for m in range(M):
        T, expected = float(T_M[m]), 0.0
        for b in range(B):
            for start, stop in ((0, 2), (2, 3)):
                p, q = ([float(v) / T for v in z[m, b, start:stop]] for z in (own, teacher))
                logs = [(log_softmax(p, j), log_softmax(q, j)) for j in range(stop - start)]
                expected += sum(math.exp(log_q) * (log_q - log_p) for log_p, log_q in logs) / B
        assert float(found_M[m]) == pytest.approx(expected, abs=1e-12)
    shifted = teacher + torch.tensor([3.0, 3.0, -7.0], dtype=torch.float64)
    torch.testing.assert_close(taskwise_kl(shifted, teacher, sizes, T_M), torch.zeros_like(T_M))


@pytest.mark.parametrize(("new", "batches"), [(16, 2), (19, 2), (7, 0)])
def test_a_last_batch_that_is_not_full_can_be_left_out(new: int, batches: int) -> None:
    labels_MN = torch.tensor([0, 1, 2] + [OLD] * new).expand(M, -1)
    order_MN = mixed(labels_MN, MemberStreams((0, 1), ()), old=OLD, new_a_batch=8, old_a_batch=2, drop_last=True)
    assert order_MN.shape == (M, batches * 10)
    assert ((labels_MN.gather(1, order_MN) < OLD).unflatten(1, (-1, 10)).sum(2) == 2).all() or not batches


def test_tasks_smaller_than_a_batch_train_nothing_if_batches_must_be_full() -> None:
    def epochs(drop_last: bool) -> list[int]:
        last = checkpoints("ss_il", {"drop_last": drop_last}, optim={"batch_size": 15})[-1]
        return sorted({row.task for row in History.model_validate_json(last["histories"][0]).epochs})

    # The tasks have 14, 16 and 10 images; the first is trained as by any method.
    assert epochs(False) == [0, 1, 2]
    assert epochs(True) == [0, 1]


# -- FOSTER ------------------------------------------------------------------------------------------------


def taught(name: str, **changes: Any) -> Learner:
    """A learner at the beginning of its second task, whose network has moved away from its teacher."""
    learner = new_learner(
        [tiny_run(name, seed=seed, **changes) for seed in range(M)], 1, torch.device("cpu"), "float64"
    )
    learner.network.grow(OLD, learner.seeds, 0)
    learner.freeze_teacher()
    learner.network.grow(K - OLD, learner.seeds, 1)
    moved(learner)
    return learner


def moved(learner: Learner) -> None:
    for parameter in learner.network.parameters():
        parameter.data += 1


def at(contents: list[dict[str, Any]], task: int, stage: int) -> dict[str, Tensor]:
    """The tensors after the first epoch of a stage."""
    cursor = {"task": task, "stage": stage, "epoch": 1, "step": 0}
    (found,) = (content["tensors"] for content in contents if content["cursor"] == cursor)
    return dict(found)


def under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], atol: float = 0) -> None:
    assert found.keys() == expected.keys()
    assert found
    for key, tensor in expected.items():
        torch.testing.assert_close(found[key], tensor, rtol=0, atol=atol, msg=key)


def test_boosting_divides_logits_by_class_weights() -> None:
    task = context(
        {"beta_boost": [0.96, 0.5], "beta_compress": [0.97, 0.9], "lambda": [1.0, 3.0], "temperature": [2, 4]}
    )
    boost, _ = Foster().plan(task)
    logits, teacher, aux = draw(M, B, K), draw(M, B, OLD, seed=1), draw(M, B, K, seed=2)
    terms = boost.loss(step(task, logits, teacher, {"aux": aux}))
    for m, beta in enumerate([0.96, 0.5]):
        v = [(1 - beta) / (1 - beta ** float(s)) for s in task.kept_K]
        v = [x * K / sum(v) for x in v]
        divided = [[float(logits[m, b, k]) / v[k] for k in range(K)] for b in range(B)]
        expected = -sum(log_softmax(divided[b], int(LABELS[m, b])) for b in range(B)) / B
        assert float(terms["ce"][m]) == pytest.approx(expected, abs=1e-12)
    torch.testing.assert_close(terms["aux"], cross_entropy(aux, LABELS))
    torch.testing.assert_close(
        terms["kd"],
        task.hyperparameters["lambda"] * kd(logits[..., :OLD], teacher, task.hyperparameters["temperature"]),
    )


def test_compression_learns_reweighted_answers_and_no_labels() -> None:
    task = context(
        {"beta_boost": [0.0, 0.0], "beta_compress": [0.97, 0.0], "lambda": [1.0, 1.0], "temperature": [2, 4]}
    )
    _, compress = Foster().plan(task)
    logits, teacher = draw(M, B, K), draw(M, B, K, seed=1)
    found_M = compress.loss(step(task, logits, teacher, {}))["kd"]
    v_MK = effective_number_weights(task.kept_K, task.hyperparameters["beta_compress"])
    T = task.hyperparameters["temperature"][:, None, None]
    q = (teacher / T).softmax(2) * v_MK[:, None]
    q = q / q.sum(2, keepdim=True)
    torch.testing.assert_close(found_M, -(q * (logits / T).log_softmax(2)).sum(2).mean(1))
    torch.testing.assert_close(found_M[1], kd(logits, teacher, task.hyperparameters["temperature"])[1])


def test_the_old_network_stands_still_through_a_task() -> None:
    contents = checkpoints("foster", every=1)
    for task in (1, 2):
        before = next(
            c["tensors"] for c in contents if c["cursor"] == {"task": task, "stage": 0, "epoch": 0, "step": 0}
        )
        for stage in (0, 1):
            assert_same(under(at(contents, task, stage), "frozen/old/"), under(before, "frozen/teacher/"))
        boosted = under(at(contents, task, 1), "frozen/boosted/")
        assert not torch.equal(boosted["net.stem.weight"], before["frozen/teacher/net.stem.weight"])


@pytest.mark.parametrize(("init", "variance"), [("fan_out", 1 / 3), ("fan_in", 2), ("fan_out_wide_head", 1)])
def test_the_boosted_networks_rows_start_as_the_run_file_says(init: str, variance: float) -> None:
    learner = taught("foster", net={"init": init})
    boost, _ = Foster().plan(context({"beta_boost": [0.9] * M, "beta_compress": [0.9] * M}))
    assert boost.prepare is not None
    boost.prepare(learner, NO_IMAGES)
    wide_MKD = learner.network.classifier.weight_MKD.detach()[:, OLD:]
    aux_MKD = learner.network.get_parameter("aux.weight_MKD").detach()
    for rows_MKD in (wide_MKD, aux_MKD):
        assert float(rows_MKD.var() * rows_MKD.shape[2]) == pytest.approx(variance, rel=0.3)


def test_boosting_starts_with_the_old_classifier_in_a_corner_and_compression_with_the_old_network() -> None:
    learner = taught("foster")
    old = {key: tensor.clone() for key, tensor in learner.frozen["teacher"].state_dict().items()}
    features = old["head.weight_MKD"].shape[2]
    boost, compress = Foster().plan(context({"beta_boost": [0.9] * M, "beta_compress": [0.9] * M}))
    assert boost.prepare is not None
    assert compress.prepare is not None
    boost.prepare(learner, NO_IMAGES)
    wide_MKD = learner.network.classifier.weight_MKD
    assert wide_MKD.shape == (M, K, 2 * features)
    torch.testing.assert_close(wide_MKD[:, :OLD, :features].data, old["head.weight_MKD"], rtol=0, atol=0)
    assert wide_MKD[:, OLD:].all()
    moved(learner)
    boosted = {key: tensor.clone() for key, tensor in learner.network.state_dict().items()}
    compress.prepare(learner, NO_IMAGES)
    assert_same(dict(learner.frozen["boosted"].state_dict()), boosted)
    assert_same(dict(learner.frozen["old"].state_dict()), old)
    assert_same(under(dict(learner.network.state_dict()), "net."), under(old, "net."))
    assert learner.network.classifier.weight_MKD.shape == (M, K, features)
    torch.testing.assert_close(
        learner.network.classifier.weight_MKD[:, :OLD].data, old["head.weight_MKD"], rtol=0, atol=0
    )


def test_new_classes_can_be_kept_from_old_features() -> None:
    contents = checkpoints("foster", {"new_on_old": False}, every=1)
    wide_MKD = at(contents, 1, 1)["frozen/boosted/head.weight_MKD"]
    features = wide_MKD.shape[2] // 2
    assert not wide_MKD[:, 4:, :features].any()
    assert wide_MKD[:, 4:, features:].all()


def test_what_goes_on_is_a_single_backbone_and_both_are_reported() -> None:
    last = checkpoints("foster")[-1]
    first, *later = [row.phase_acc_others_pct for row in History.model_validate_json(last["histories"][0]).tasks]
    assert first == {}
    assert [list(others) for others in later] == [["boosted"]] * 2
    sizes = [tensors["network/head.weight_MKD"].shape for tensors in trained("foster")]
    assert sizes == [(1, 4, 64), (1, 7, 64), (1, 10, 64)]


# -- MAF-DRC -----------------------------------------------------------------------------------------------


def branch(tensors: dict[str, Tensor], name: str) -> list[Tensor]:
    return [tensors[f"network/branch_{name}.{part}"] for part in ("weight", "bias")]


def test_the_old_branch_takes_in_the_new_one_and_does_not_learn() -> None:
    contents = checkpoints("maf_drc", every=1)
    ends = [c["tensors"] for c in contents if c["cursor"]["stage"] == c["cursor"]["epoch"] == 0]
    merged = [
        branch(ends[0], "new"),
        [(old + new) / 2 for old, new in zip(branch(ends[1], "old"), branch(ends[1], "new"), strict=True)],
    ]
    for task in (1, 2):
        for tensors in (at(contents, task, 1), ends[task]):
            for found, expected in zip(branch(tensors, "old"), merged[task - 1], strict=True):
                torch.testing.assert_close(found, expected, rtol=0, atol=0)
        assert not torch.equal(branch(ends[task], "new")[0], branch(ends[task - 1], "new")[0])


@pytest.mark.parametrize(("start", "source"), [("adapted", "adapted"), ("old", "teacher")])
def test_the_fusion_starts_from_the_model_that_was_asked_for(start: Any, source: str) -> None:
    learner = taught("maf_drc")
    _, fuse = MafDrc(start=start).plan(context({"tau": [1.0, 1.0]}))
    assert fuse.prepare is not None
    adapted = {key: tensor.clone() for key, tensor in learner.network.state_dict().items()}
    fuse.prepare(learner, NO_IMAGES)
    assert_same(dict(learner.frozen["adapted"].state_dict()), adapted)
    assert_same(dict(learner.network.net.state_dict()), dict(learner.frozen[source].net.state_dict()))
    head_MKD = learner.network.classifier.weight_MKD
    assert head_MKD.shape[1] == K
    torch.testing.assert_close(head_MKD[:, :OLD], learner.frozen[source].classifier.weight_MKD[:, :OLD], rtol=0, atol=0)


@pytest.mark.parametrize(("images", "left"), [(590, 0.81), (4719, 0.21)])
def test_weight_decay_leaves_of_the_old_branch_what_it_leaves_in_the_released_code(images: int, left: float) -> None:
    """Of the first tasks of CIFAR100-LT LFS10 and LFH."""
    assert decayed(OptimConfig(), math.ceil(images / 128)) == pytest.approx(left, abs=0.005)


def test_the_first_teacher_may_have_a_decayed_old_branch() -> None:
    learner = taught("maf_drc")
    task = replace(context({"tau": [1.0, 1.0]}), index=1)
    _, fuse = MafDrc(first_teacher="decayed").plan(task)
    before_MD = learner.frozen["teacher"].get_parameter("branch_old.weight").clone()
    assert fuse.prepare is not None
    fuse.prepare(learner, NO_IMAGES)
    steps = math.ceil(float(task.counts_K[:OLD].sum()) / task.optim.batch_size)
    after_MD = learner.frozen["teacher"].get_parameter("branch_old.weight")
    torch.testing.assert_close(after_MD, before_MD * decayed(task.optim, steps))
    assert not torch.equal(after_MD, before_MD)


def test_adaptation_sees_new_images_alone_and_fusion_a_prior_from_true_counts() -> None:
    hyperparameters = {
        "alpha": [0.2, 0.0],
        "beta_old": [4.0, 0.0],
        "beta_new": [1.0, 0.0],
        "temperature": [2, 2],
        "tau": [1.2, 0.0],
    }
    task = context(hyperparameters)
    adapt, fuse = MafDrc().plan(task)
    assert adapt.pool is new_only
    logits, teacher, adapted = draw(M, B, K), draw(M, B, OLD, seed=1), draw(M, B, K, seed=2)
    old, new = draw(M, B, K, seed=3), draw(M, B, K, seed=4)
    terms = fuse.loss(step(task, logits, teacher, {"old": old, "new": new, "adapted": adapted}))
    images = [5.0, 5.0, 3.0, 25.0, 6.0]  # the exemplars of old classes, at most 5 each, and all new images
    prior = [math.log((n / sum(images)) ** 1.2 + 1e-12) for n in images]
    adjusted = logits[:1] + torch.tensor(prior, dtype=torch.float64)
    two_M = torch.tensor([2.0], dtype=torch.float64)
    expected = {
        "ce": 0.8 * cross_entropy(adjusted, LABELS[:1]),
        "branches": 0.2 * branch_cross_entropy(old, new, LABELS, OLD)[:1],
        "kd_old": 4 * kd(adjusted[..., :OLD], teacher[:1], two_M),
        "kd_new": kd(adjusted[..., OLD:], adapted[:1, :, OLD:], two_M),
    }
    assert terms.keys() == expected.keys()
    for name, value_M in expected.items():
        torch.testing.assert_close(terms[name][:1], value_M)
    # Without a power all classes are alike, and with all weights 0 plain cross-entropy is left.
    torch.testing.assert_close(sum(v[1] for v in terms.values()), cross_entropy(logits, LABELS)[1])


def test_branches_are_held_to_their_own_images() -> None:
    old, new = draw(M, B, K), draw(M, B, K, seed=1)
    found_M = branch_cross_entropy(old, new, LABELS, OLD)
    for m in range(M):
        labels = [int(y) for y in LABELS[m]]
        losses = [-log_softmax(new[m, b].tolist(), y) for b, y in enumerate(labels)]
        losses += [-log_softmax(old[m, b].tolist(), y) for b, y in enumerate(labels) if y < OLD]
        assert float(found_M[m]) == pytest.approx(sum(losses) / len(losses), abs=1e-12)


def test_the_first_task_trains_the_new_branch_alone() -> None:
    contents = checkpoints("maf_drc", protocol={"tasks": 1})
    weight, bias = branch(contents[-1]["tensors"], "old")
    torch.testing.assert_close(weight, torch.ones_like(weight), rtol=0, atol=0)
    torch.testing.assert_close(bias, torch.zeros_like(bias), rtol=0, atol=0)
    assert not torch.equal(branch(contents[-1]["tensors"], "new")[0], weight)
