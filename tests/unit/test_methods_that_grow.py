"""DER, MEMO and TagFex: what stands still, what becomes wider, and what they are in the first task."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from support.runs import FEW_IMAGES, accuracies, losses, tiny_run
from support.states import checkpoints, trained
from trainer.nets import resnet
from trainer.nets.correction import align_new_rows
from trainer.nets.heads import LinearHead
from trainer.stages.expansion import aux_labels
from trainer.stages.learner import under
from trainer.training.options import DeviceOptions
from trainer.training.session import train
from trainer.training.state import new_learner

F64 = torch.float64
HEAD, AUX, FEATURES = "network/head.weight_MKD", "network/aux.weight_MKD", 64
growing = pytest.mark.parametrize("name", ["der", "memo"])


@growing
def test_the_first_task_is_finetuning(name: str) -> None:
    found, plain = (
        train([tiny_run(n, data=FEW_IMAGES, protocol={"tasks": 1})], DeviceOptions(device="cpu", precision="float64"))
        for n in (name, "finetune")
    )
    assert accuracies(found) == accuracies(plain)
    assert losses(found) == losses(plain)


@growing
def test_every_task_widens_the_classifier_and_begins_another_auxiliary_one(name: str) -> None:
    tasks = trained(name)
    for task, (before, tensors) in enumerate(itertools.pairwise(tasks), 1):
        classes, old = tensors[HEAD].shape[1], before[HEAD].shape[1]
        assert tensors[HEAD].shape == (1, classes, (task + 1) * FEATURES)
        assert tensors[AUX].shape == (1, classes - old + 1, FEATURES)


def test_an_auxiliary_class_for_all_old_ones() -> None:
    assert aux_labels(torch.arange(4)[None], 2).tolist() == [[0, 0, 1, 2]]


@growing
def test_networks_of_earlier_tasks_stand_still(name: str) -> None:
    """Parameters, and the statistics of batch norm, which training mode would move."""
    contents = [content["tensors"] for content in checkpoints(name, every=1)]
    compared = 0
    for earlier, later in itertools.pairwise(contents):
        frozen = {k: v for k, v in earlier.items() if k.startswith("frozen/task")}
        assert all(torch.equal(later[k], v) for k, v in frozen.items())
        compared += len(frozen)
    assert compared > 100


@growing
def test_what_is_frozen_is_the_network_that_learnt_the_task(name: str) -> None:
    first, second, third = trained(name)
    for task, tensors in enumerate((first, second)):
        frozen, learnt = under(third, f"frozen/task{task}/net."), under(tensors, "network/net.")
        assert frozen.keys() == learnt.keys()
        kept = {k: v for k, v in frozen.items() if v.numel()}
        assert all(k in kept for k in learnt if name == "der" or k.startswith("blocks.2."))
        assert all(torch.equal(v, learnt[k]) for k, v in kept.items())


def test_new_rows_are_scaled_whole() -> None:
    head = LinearHead(1, 4, 3).double()
    rows = torch.tensor([[[3.0, 4, 0, 0], [0, 0, 0, 5], [6, 8, 0, 0]]], dtype=F64)
    with torch.no_grad():
        head.weight_MKD.copy_(rows)
    align_new_rows(head, 2)
    assert torch.equal(head.weight_MKD[:, 2], rows[:, 2] / 2)


@growing
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
