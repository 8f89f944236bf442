"""DER, MEMO and TagFex: what stands still, what becomes wider, and what they are in the first task."""

import itertools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from support.runs import FEW_IMAGES, accuracies, losses, tiny_run
from support.states import checkpoints, trained
from trainer.losses.contrastive import view_contrast
from trainer.methods.tagfex import TagFex, transferred
from trainer.nets import resnet
from trainer.nets.correction import align_new_rows
from trainer.nets.heads import LinearHead
from trainer.nets.projection import MapAttention
from trainer.stages.expansion import aux_labels
from trainer.stages.learner import under
from trainer.stages.stage import Step, Terms
from trainer.training.options import DeviceOptions
from trainer.training.session import train
from trainer.training.state import new_learner

F64, EXACT = torch.float64, DeviceOptions(device="cpu", precision="float64")
HEAD, AUX, FEATURES = "network/head.weight_MKD", "network/aux.weight_MKD", 64
growing = pytest.mark.parametrize("name", ["der", "memo"])
growing_all = pytest.mark.parametrize("name", ["der", "memo", "tagfex"])


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


@growing
def test_the_first_task_is_finetuning(name: str) -> None:
    found, plain = (train([tiny_run(n, data=FEW_IMAGES, protocol={"tasks": 1})], EXACT) for n in (name, "finetune"))
    assert accuracies(found) == accuracies(plain)
    assert losses(found) == losses(plain)


@growing_all
def test_every_task_widens_the_classifier_and_begins_another_auxiliary_one(name: str) -> None:
    tasks = trained(name)
    for task, (before, tensors) in enumerate(itertools.pairwise(tasks), 1):
        classes, old = tensors[HEAD].shape[1], before[HEAD].shape[1]
        assert tensors[HEAD].shape == (1, classes, (task + 1) * FEATURES)
        assert tensors[AUX].shape == (1, classes - old + 1, FEATURES)


def test_an_auxiliary_class_for_all_old_ones() -> None:
    assert aux_labels(torch.arange(4)[None], 2).tolist() == [[0, 0, 1, 2]]


@growing_all
def test_networks_of_earlier_tasks_stand_still(name: str) -> None:
    """Parameters, and the statistics of batch norm, which training mode would move."""
    contents = [content["tensors"] for content in checkpoints(name, every=1)]
    compared = 0
    for earlier, later in itertools.pairwise(contents):
        frozen = {k: v for k, v in earlier.items() if k.startswith("frozen/task")}
        assert all(torch.equal(later[k], v) for k, v in frozen.items())
        compared += len(frozen)
    assert compared > 100


@growing_all
def test_what_is_frozen_is_the_network_that_learnt_the_task(name: str) -> None:
    first, second, third = trained(name)
    for task, tensors in enumerate((first, second)):
        frozen, learnt = under(third, f"frozen/task{task}/net."), under(tensors, "network/net.")
        assert frozen.keys() == learnt.keys()
        kept = {k: v for k, v in frozen.items() if v.numel()}
        assert all(k in kept for k in learnt if name != "memo" or k.startswith("blocks.2."))
        assert all(torch.equal(v, learnt[k]) for k, v in kept.items())


def test_new_rows_are_scaled_whole() -> None:
    head = LinearHead(1, 4, 3).double()
    rows = torch.tensor([[[3.0, 4, 0, 0], [0, 0, 0, 5], [6, 8, 0, 0]]], dtype=F64)
    with torch.no_grad():
        head.weight_MKD.copy_(rows)
    align_new_rows(head, 2)
    assert torch.equal(head.weight_MKD[:, 2], rows[:, 2] / 2)


@growing_all
def test_a_task_ends_with_rows_of_one_mean_norm(name: str) -> None:
    first, second, _ = trained(name)
    norm_K = second[HEAD][0].norm(dim=1)
    old = first[HEAD].shape[1]
    torch.testing.assert_close(norm_K[:old].mean(), norm_K[old:].mean())


def scores(tensors: dict[str, Tensor], name: str, images: Tensor, fields: dict[str, Any] | None = None) -> Tensor:
    """What the run file's own evaluation makes of images, from the tensors of a state."""
    config = tiny_run(name, fields)
    learner = new_learner([config], 1, torch.device("cpu"), "float64")
    learner.load_tensors(tensors)
    learner.network.eval()
    with torch.no_grad():
        return config.method.evaluate(learner, images).logits_MBK


def test_der_on_a_copy_without_its_new_columns_is_the_old_network() -> None:
    """Nothing is learnt with a rate of next to nothing: the old block is what it was, the new backbone a copy."""
    fields, images = {"finish": "none"}, torch.rand(4, 1, 8, 8, dtype=F64)
    quiet = {"protocol": {"tasks": 2}, "optim": {"lr": 1e-12, "epochs": 1}}
    first, second = trained("der", fields, **quiet)
    old = first[HEAD].shape[1]
    torch.testing.assert_close(second[HEAD][:, :old, :FEATURES], first[HEAD], rtol=0, atol=1e-9)
    torch.testing.assert_close(second["network/net.stem.weight"], first["network/net.stem.weight"], rtol=0, atol=1e-9)
    second[HEAD][:, :old, FEATURES:] = 0
    expected_MBK = scores(first, "der", images, fields)
    found_MBK = scores(second, "der", images, fields)
    torch.testing.assert_close(found_MBK[..., :old], expected_MBK, rtol=0, atol=1e-8)


def test_der_trains_its_classifier_again_and_nothing_else() -> None:
    again, plain = (trained("der", {"finish": finish}, protocol={"tasks": 2})[1] for finish in ("retrain", "none"))
    own = {k for k in plain if k.startswith("network/") and not torch.equal(again[k], plain[k])}
    assert own == {HEAD, "network/head.bias_MK"}


# -- MEMO --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("train_base", [True, False])
def test_the_shared_stages_learn_where_they_are_to(train_base: bool) -> None:
    first, second, _ = (under(t, "network/net.") for t in trained("memo", {"train_base": train_base}))
    moved = {k for k in first if not torch.equal(first[k], second[k])}
    last = {k for k in first if k.startswith("blocks.2.")}
    assert moved == (set(first) if train_base else last)


def test_what_memo_keeps_of_a_task_is_its_last_stage() -> None:
    """Of ResNet-32, 351,488 of 463,504 parameters."""
    net = resnet.build("resnet32", 3, [0], shortcut="pad")
    whole = sum(p.numel() for p in net.parameters())
    stages = {name: sum(p.numel() for p in net.get_submodule(name).parameters()) for name in net.split().last_stage}
    assert (whole, sum(stages.values())) == (463_504, 351_488)
    *_, last = trained("memo")
    kept = {k for k, v in under(last, "frozen/task0/").items() if v.numel()}
    assert kept == {k for k in under(last, "frozen/task0/") if k.startswith("net.blocks.2.")}


def test_a_network_is_its_two_halves() -> None:
    net, images = resnet.build("small", 1, [0, 1]).eval(), torch.rand(3, 2, 8, 8)
    whole, (shared, stage_outputs) = net(images), net.trunk(images)
    halves = net.last_stage(shared, stage_outputs)
    assert torch.equal(halves.features_MBD, whole.features_MBD)
    assert [torch.equal(a, b) for a, b in zip(halves.stage_outputs, whole.stage_outputs, strict=True)] == [True] * 3
    split = net.split()
    assert set(split.trunk) | set(split.last_stage) == {"stem", "bn", "blocks.0", "blocks.1", "blocks.2"}


# -- TagFex ------------------------------------------------------------------------------------------------


def test_two_orthogonal_images_in_equal_views() -> None:
    views_MBD = torch.eye(2, dtype=F64).repeat(2, 1)[None]
    found_M = view_contrast(views_MBD, 3 * views_MBD, torch.tensor([0.2], dtype=F64))
    assert found_M.tolist() == pytest.approx([math.log(1 + 2 * math.exp(-5))])
    alone_MBD = torch.rand(1, 2, 5, dtype=F64)
    assert view_contrast(alone_MBD, alone_MBD, torch.tensor([0.2], dtype=F64)).tolist() == [0]


def test_the_contrast_of_views_word_for_word() -> None:
    own_MBD, keys_MBD, tau = draw(2, 6, 4), draw(2, 6, 4, seed=1), [0.2, 0.7]
    found_M = view_contrast(own_MBD, keys_MBD, torch.tensor(tau, dtype=F64))
    for m in range(2):
        total = 0.0
        for i in range(6):
            cosine = [float(F.cosine_similarity(own_MBD[m, i], keys_MBD[m, j], dim=0)) / tau[m] for j in range(6)]
            rivals = sum(math.exp(cosine[j]) for j in range(6) if j != i)
            total -= cosine[(i + 3) % 6] - math.log(rivals)
        assert float(found_M[m]) == pytest.approx(total / 6)


def test_what_is_borrowed_is_learnt_and_handed_over_on_new_classes_alone() -> None:
    logits_MBK, borrowed_MBc = draw(2, 4, 5), draw(2, 4, 2, seed=1).requires_grad_()
    labels_MB = torch.tensor([[0, 3, 4, 2], [1, 0, 2, 1]])  # the second member's batch has no new class
    found, handed = transferred(logits_MBK, borrowed_MBc, labels_MB, 3)
    ce, kl = [], []
    for b in (1, 2):
        q, p = (borrowed_MBc[0, b] / 2).softmax(0), (logits_MBK[0, b, 3:] / 2).softmax(0)
        ce.append(-borrowed_MBc[0, b].log_softmax(0)[labels_MB[0, b] - 3])
        kl.append((q * (q / p).log()).sum())
    torch.testing.assert_close(found, torch.stack([torch.stack(ce).mean(), torch.zeros((), dtype=F64)]))
    torch.testing.assert_close(handed, torch.stack([torch.stack(kl).mean(), torch.zeros((), dtype=F64)]))
    assert not handed.requires_grad


def test_the_attention_word_for_word() -> None:
    members, features, heads = 2, 8, 4
    attention = MapAttention(members, features, heads).double()
    attention.draw([0, 1], "attention")
    with torch.no_grad():
        attention.get_parameter("own_offset_MD").copy_(draw(members, features))
    own, other = draw(3, members * features, 2, 2), draw(3, members * features, 2, 2, seed=1)
    found_MBD = attention(own, other)
    for m in range(members):
        for b in range(3):
            ts, ta = (x[b, m * features : (m + 1) * features].flatten(1).T for x in (own, other))
            ts, ta = (
                F.layer_norm(ts, (features,)) + attention.get_parameter("own_offset_MD")[m],
                F.layer_norm(ta, (features,)),
            )
            both = torch.cat([ta, ts])
            q, k, v = (x @ attention.get_parameter(n)[m].T for n, x in (("query", ts), ("key", both), ("value", both)))
            pieces = [
                (q[:, h : h + 2] @ k[:, h : h + 2].T / math.sqrt(2)).softmax(1) @ v[:, h : h + 2] for h in (0, 2, 4, 6)
            ]
            torch.testing.assert_close(found_MBD[m, b], torch.cat(pieces, 1).mean(0))


@pytest.mark.parametrize("weights", [{"contrast": 0.0, "contrast_kd": 0.0}, {}])
def test_the_network_without_labels_learns_from_contrast_alone(weights: dict[str, float]) -> None:
    """Nothing of what is borrowed from it reaches it: without weight decay it stays as it was."""
    first, second, _ = trained("tagfex", weights, optim={"weight_decay": 0.0})
    parameters = [k for k in first if k.startswith("network/ta.") and k.endswith("weight")]
    moved = any(not torch.equal(first[k], second[k]) for k in parameters)
    assert moved == (not weights)


def test_the_terms_weigh_by_the_part_of_new_classes() -> None:
    """Halves of the classes are old: contrasts weigh 1/2 and 2 * 1/2."""
    plain, doubled = (
        train([tiny_run("tagfex", f, data=FEW_IMAGES, protocol={"tasks": 2}, optim={"lr": 1e-12, "epochs": 1})], EXACT)[
            0
        ]
        for f in ({}, {"contrast": 2.0, "contrast_kd": 1.0})
    )
    first, second = plain.epochs
    assert first.terms.keys() == {"ce", "contrast"}
    assert second.terms.keys() == {"ce", "contrast", "contrast_kd", "aux", "transfer"}
    assert doubled.epochs[1].terms["contrast"] == pytest.approx(2 * second.terms["contrast"], rel=1e-6)
    assert doubled.epochs[1].terms["contrast_kd"] == pytest.approx(second.terms["contrast_kd"] / 2, rel=1e-6)
    assert second.terms["contrast"] == pytest.approx(first.terms["contrast"] / 2, rel=0.2)


def test_a_grown_network_gives_old_classes_their_old_scores() -> None:
    fields, images = {"scale_rows": False}, torch.rand(4, 1, 8, 8, dtype=F64)
    first, second = trained("tagfex", fields, protocol={"tasks": 2}, optim={"lr": 1e-12, "epochs": 1})
    expected_MBK = scores(first, "tagfex", images, fields)
    old = expected_MBK.shape[2]
    torch.testing.assert_close(scores(second, "tagfex", images, fields)[..., :old], expected_MBK, rtol=0, atol=1e-6)


def test_a_new_backbone_starts_between_the_last_one_and_the_one_without_labels() -> None:
    first, second = trained("tagfex", {"blend": 0.25}, protocol={"tasks": 2}, optim={"lr": 1e-12, "epochs": 1})
    name = "net.blocks.1.conv1.weight"
    expected = 0.75 * first[f"network/{name}"] + 0.25 * first["network/ta." + name.removeprefix("net.")]
    torch.testing.assert_close(second[f"network/{name}"], expected, rtol=0, atol=1e-9)
    assert not torch.equal(first["network/net.stem.weight"], first["network/ta.stem.weight"])


@pytest.mark.parametrize("augment", ["random_crop", "none"])
def test_both_views_are_of_the_same_images_by_other_draws(augment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[Tensor, Tensor]] = []
    inner = TagFex.terms

    def terms(self: TagFex, step: Step, classification: Any) -> Terms:
        given.append((step.labels_MB, step.features_MBD.detach()))
        return inner(self, step, classification)

    monkeypatch.setattr(TagFex, "terms", terms)
    data = {**FEW_IMAGES, "augment": augment}
    train([tiny_run("tagfex", data=data, protocol={"tasks": 1}, optim={"epochs": 1, "batch_size": 8})], EXACT)
    for labels_MB, features_MBD in given:
        (own_MB, others_MB), (own_MBD, others_MBD) = labels_MB.chunk(2, 1), features_MBD.chunk(2, 1)
        assert torch.equal(own_MB, others_MB)
        assert torch.allclose(own_MBD, others_MBD) == (augment == "none")
    assert max(labels_MB.shape[1] for labels_MB, _ in given) == 16
