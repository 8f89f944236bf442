"""The systems of Table 2: what changes when, what starts how, which images count; their losses have their own tests."""

from dataclasses import replace
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.paper.cells import Cell, Choice, cells
from benchmarks.paper.tables import TABLES
from support.runs import tiny_run
from trainer.config.run_config import RunConfig
from trainer.data.long_tail import profile
from trainer.data.samplers import duplicated, oversampled
from trainer.losses.class_weights import effective_number_weights
from trainer.losses.cross_entropy import cross_entropy, image_cross_entropy
from trainer.losses.ldam import ldam, margins
from trainer.methods.base import METHODS, Method
from trainer.nets.network import Network, Outputs
from trainer.nets.resnet import Maps
from trainer.rng import MemberStreams
from trainer.stages.optim import OptimConfig
from trainer.stages.stage import Stage, Step, TaskContext, Terms
from trainer.training.options import DeviceOptions
from trainer.training.session import train
from trainer.training.state import new_learner, sgd

B, D = 8, 6


TABLE_2 = cells(TABLES["table2"], Choice(seeds=(0,)))


def table2(slug: str) -> RunConfig:
    """A system of Table 2 at its first ratio."""
    return next(cell.configs[0] for cell in TABLE_2 if cell.row.slug == slug)


def context(
    method: Method, counts: list[int], old: int = 0, exemplars: int = 20, optim: OptimConfig | None = None
) -> TaskContext:
    counts_K = torch.tensor(counts, dtype=torch.float64)
    kept_K = counts_K.clone()
    kept_K[:old].clamp_(max=exemplars)
    values = method.model_dump(by_alias=True)
    return TaskContext(
        index=int(old > 0),
        old=old,
        new=len(counts) - old,
        sizes=(old, len(counts) - old) if old else (len(counts),),
        members=1,
        counts_K=counts_K,
        kept_K=kept_K,
        hyperparameters={f: torch.tensor([values[f]], dtype=torch.float64) for f in method.per_member_fields()},
        optim=optim or OptimConfig(),
        dtype=torch.float64,
    )


def planned(config: RunConfig) -> tuple[Stage, TaskContext]:
    """The only stage of a run of Table 2."""
    task = context(config.method, profile(100, 500, 100), optim=config.optim)
    (stage,) = config.method.plan(task)
    return stage, task


def images(classes: int, seed: int = 0) -> tuple[Outputs, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(1, B, classes, dtype=torch.float64, generator=generator)
    features = torch.rand(1, B, D, dtype=torch.float64, generator=generator)
    return Outputs(features, logits, Maps(features, features, ())), torch.arange(B)[None] * (classes - 1) // (B - 1)


def terms(stage: Stage, task: TaskContext, epoch: int = 0, **more: Any) -> Terms:
    out, labels_MB = images(task.seen)
    return stage.loss(Step(out, labels_MB, task, dict(stage.buffers), cast(Network, None), epoch, **more))


# -- what changes when, in Table 2 ----------------------------------------------------------------------

ORDINARY = {0: 0.02, 3: 0.08, 4: 0.1, 5: 0.1, 99: 0.1, 100: 0.1, 159: 0.1, 160: 1e-3, 179: 1e-3, 180: 1e-5, 199: 1e-5}
EARLY = ORDINARY | {100: 1e-3, 159: 1e-3, 160: 1e-5, 179: 1e-5, 180: 1e-7, 199: 1e-7}


@pytest.mark.parametrize("cell", TABLE_2, ids=lambda cell: cell.slug)
def test_learning_rates(cell: Cell) -> None:
    (config,) = cell.configs
    stage, _ = planned(config)
    assert stage.optim == config.optim
    wanted = EARLY if cell.row.slug == "ib" else ORDINARY
    assert {e: stage.learning_rate(e) for e in wanted} == pytest.approx(wanted)


def test_influence_balancing_starts_at_half_time_with_its_rate() -> None:
    stage, task = planned(table2("ib"))
    out, labels_MB = images(100)
    assert torch.equal(terms(stage, task, 99)["ce"], cross_entropy(out.logits_MBK, labels_MB))
    assert list(terms(stage, task, 100)) == list(terms(stage, task, 199)) == ["ib"]
    method = METHODS.find("ib")(ib_start=7)
    (moved,) = method.plan(context(method, [5, 5]))
    assert moved.drops == {7: 0.01}


@pytest.mark.parametrize("drw", [False, True])
def test_deferred_weights_act_from_the_first_fall_of_the_rate(drw: bool) -> None:
    stage, task = planned(table2("ldam_drw" if drw else "ldam"))
    out, labels_MB = images(100)
    margins_MK = margins(task.kept_K, torch.tensor([0.5]))
    scale_M = torch.tensor([30.0], dtype=torch.float64)
    plain = ldam(out.logits_MBK, labels_MB, margins_MK, scale_M)
    weights_MK = effective_number_weights(task.kept_K, torch.tensor([0.9999], dtype=torch.float64))
    weighted = ldam(out.logits_MBK, labels_MB, margins_MK, scale_M, weights_MK)
    assert not torch.allclose(plain, weighted)
    for epoch in (0, 159, 160, 199):
        wanted = weighted if drw and epoch >= 160 else plain
        torch.testing.assert_close(terms(stage, task, epoch)["ldam"], wanted)


def test_batches_are_mixed_between_the_first_and_the_last_epochs() -> None:
    stage, _ = planned(table2("cmo"))
    assert stage.mix is not None
    epochs = (0, 3, 4, 99, 160, 196, 197, 199)
    assert [stage.mix.active(e) for e in epochs] == [False, False, True, True, True, True, False, False]
    assert float(torch.as_tensor(stage.mix.probability)) == 0.5
    method = METHODS.find("cmo")(unmixed_first=1, unmixed_last=0)
    (short,) = method.plan(context(method, [5, 5], optim=OptimConfig(epochs=3, milestones=())))
    assert short.mix is not None
    assert [short.mix.active(e) for e in range(3)] == [False, True, True]


def test_the_mixed_loss_of_every_base() -> None:
    out, labels_MB = images(4)
    partner_MB, share_M = labels_MB.flip(1), torch.tensor([0.7], dtype=torch.float64)
    counts = [40, 9, 3, 25]
    for base in ("ce", "drw", "balanced"):
        method = METHODS.find("cmo")(base_loss=base)
        task = context(method, counts, optim=OptimConfig(milestones=(80,)))
        (stage,) = method.plan(task)
        z = out.logits_MBK.clone().requires_grad_()
        if base == "balanced":
            q = (z.detach().exp() * task.kept_K).double()
            q = q / q.sum(2, keepdim=True)
        else:
            q = z.detach().softmax(2)
        beta_M = torch.tensor([0.9999], dtype=torch.float64)
        w_K = effective_number_weights(task.kept_K, beta_M)[0] if base == "drw" else torch.ones(4, dtype=torch.float64)
        own, pasted = 0.7 * w_K[labels_MB], 0.3 * w_K[partner_MB]
        eye = torch.eye(4, dtype=torch.float64)
        pull = own[..., None] * (q - eye[labels_MB]) + pasted[..., None] * (q - eye[partner_MB])
        step = Step(out._replace(logits_MBK=z), labels_MB, task, {}, cast(Network, None), 80, partner_MB, share_M)
        (found,) = torch.autograd.grad(stage.loss(step)["ce"].sum(), z)
        torch.testing.assert_close(found, pull / (own + pasted).sum(), atol=1e-12, rtol=0)


# -- which images count -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["balanced_softmax", "class_balanced", "ib", "ldam"])
def test_old_classes_count_as_what_is_kept_of_them(name: str) -> None:
    method = METHODS.find(name)(**{"ib": {"ib_start": 0}, "ldam": {"drw": True, "drw_start": 0}}.get(name, {}))

    def loss(counts: list[int], old: int) -> Tensor:
        task = context(method, counts, old, exemplars=3)
        (stage,) = method.plan(task)
        return sum(terms(stage, task).values(), torch.zeros(1))

    torch.testing.assert_close(loss([40, 9, 30, 2], 2), loss([3, 3, 30, 2], 0), rtol=0, atol=0)
    assert not torch.allclose(loss([40, 9, 30, 2], 2), loss([40, 9, 30, 2], 0))


def test_balanced_softmax_is_the_regularised_softmax_without_reweighting() -> None:
    ours = METHODS.find("gradient_reweighting")(group="none", kd="none")
    theirs = METHODS.find("balanced_softmax")()
    found = []
    for method in (ours, theirs):
        task = context(method, [40, 9, 30, 2], 2)
        (stage,) = method.plan(task)
        found.append(terms(stage, task))
    assert torch.equal(found[0]["ce"], found[1]["ce"])


def test_class_balanced_softmax_divides_by_images() -> None:
    method = METHODS.find("class_balanced")(form="softmax", cb_beta=0.9999)
    task = context(method, [40, 9, 30, 2])
    (stage,) = method.plan(task)
    out, labels_MB = images(4)
    weights_K = effective_number_weights(task.kept_K, torch.tensor([0.9999], dtype=torch.float64))[0]
    ce_MB = image_cross_entropy(out.logits_MBK, labels_MB)
    torch.testing.assert_close(terms(stage, task)["ce"], (weights_K[labels_MB] * ce_MB).mean(1))


# -- equalization ------------------------------------------------------------------------------------------


def test_gradients_are_accumulated_over_steps_and_tasks() -> None:
    method = METHODS.find("eql_v2")()
    first = context(method, [9, 4])
    (stage,) = method.plan(first)
    assert stage.buffers["ratio_MK"].tolist() == [[100, 100]]
    buffers = dict(stage.buffers)
    out, _ = images(2)
    step = Step(out, torch.zeros(1, B, dtype=torch.int64), first, buffers, cast(Network, None))
    losses = [stage.loss(step)["eql"] for _ in range(2)]
    # All gates are open at first; class 1 has no image: its negatives are shut off from then on.
    target = torch.tensor([1.0, 0.0], dtype=torch.float64).expand(1, B, 2)
    bce = F.binary_cross_entropy_with_logits(out.logits_MBK, target, reduction="none")
    torch.testing.assert_close(losses[0], bce.sum(2).mean(1))
    assert losses[1] < losses[0]
    pulled = 2 * torch.sigmoid(-out.logits_MBK[0, :, 0]).sum()
    assert float(buffers["positive_MK"][0, 0]) >= float(pulled) * (1 - 1e-9)
    assert buffers["ratio_MK"][0, 1] == 0
    (later,) = method.plan(replace(context(method, [9, 4, 7], old=2), method_state=buffers))
    for name, unseen in (("positive_MK", 0), ("negative_MK", 0), ("ratio_MK", 100)):
        assert torch.equal(later.buffers[name][:, :2], buffers[name])
        assert later.buffers[name][:, 2].tolist() == [unseen]


# -- networks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parameters"), [("cross_entropy", 470_004), ("ldam", 469_904), ("cb", 470_004), ("eql_v2", 470_004)]
)
def test_networks_of_table_2(name: str, parameters: int) -> None:
    config = table2(name)
    network = new_learner([config], 3, torch.device("cpu"), "float32").network
    network.grow(100, [0], 0)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert sum(p.numel() for p in network.net.parameters()) == 463_504
    stage, _ = planned(config)
    decays = {id(p): group["weight_decay"] for group in sgd(network, stage).param_groups for p in group["params"]}
    undecayed = {n for n, p in network.named_parameters() if decays[id(p)] == 0}
    assert undecayed == ({"head.bias_MK"} if name in ("cb", "eql_v2") else set())
    assert set(decays.values()) <= {0.0, 2e-4}
    if undecayed:
        bias_MK = dict(network.named_parameters())["head.bias_MK"]
        assert bias_MK.unique().tolist() == pytest.approx([-4.59512])
    spread = float(network.classifier.weight_MKD.detach().std())
    kaiming = (2 / 64) ** 0.5
    assert spread == pytest.approx({"eql_v2": 0.01, "ldam": 1 / 8}.get(name, kaiming), rel=0.03)


def test_logits_of_the_margin_method_are_cosines() -> None:
    network = new_learner([table2("ldam")], 3, torch.device("cpu"), "float32").network
    network.grow(100, [0], 0)
    logits = network.classifier(5 * torch.randn(1, 40, 64, generator=torch.Generator().manual_seed(0)))
    assert 0.3 < float(logits.detach().abs().max()) <= 1


# -- over-sampling -------------------------------------------------------------------------------------------

LABELS_MN = torch.repeat_interleave(torch.arange(100), torch.tensor(profile(100, 500, 100))).expand(20, -1)


def test_over_sampling_draws_every_class_as_often() -> None:
    streams = MemberStreams(tuple(range(20)), ("epoch", 0))
    order_MN = oversampled(LABELS_MN, streams)
    assert order_MN.shape == LABELS_MN.shape
    counts_C = torch.bincount(LABELS_MN.gather(1, order_MN).flatten(), minlength=100).double()
    expected = counts_C.sum() / 100
    chi_square = float(((counts_C - expected) ** 2 / expected).sum())
    assert 50 < chi_square < 160  # 99 degrees of freedom: outside with a probability of about 1e-4
    assert torch.equal(order_MN, oversampled(LABELS_MN, streams))
    assert not torch.equal(order_MN[0], order_MN[1])


def test_duplication_fills_every_class_up() -> None:
    labels_MN = torch.tensor([[0, 0, 0, 0, 0, 2, 2, 5]])
    (order_N,) = duplicated(labels_MN, MemberStreams((0,), ()))
    assert torch.bincount(labels_MN[0][order_N]).tolist() == [5, 0, 5, 0, 0, 5]
    copies_N = torch.bincount(order_N)
    assert copies_N[:5].tolist() == [1] * 5
    assert sorted(copies_N[5:7].tolist()) == [2, 3]
    assert order_N.tolist() != sorted(order_N.tolist())
    method = METHODS.find("ros")(repeat="duplicated")
    (stage,) = method.plan(context(method, [5, 2]))
    assert stage.sampler is duplicated


# -- training ------------------------------------------------------------------------------------------------


def test_methods_for_tails_find_rare_digits_that_cross_entropy_misses() -> None:
    def rare(name: str) -> float:
        config = tiny_run(
            name,
            data={"imbalance": {"ratio": 30, "max_per_class": 60, "order": "ordered"}},
            protocol={"tasks": 1, "class_order": {"seed": None}},
            optim={"epochs": 12, "lr": 0.05, "milestones": [9]},
        )
        (result,) = train([config], DeviceOptions(device="cpu"))
        losses = [sum(row.terms.values()) for row in result.epochs]
        assert losses[-1] < 0.5 * losses[0]
        return float(result.tasks[-1].acc_few_pct)

    plain = rare("finetune")
    assert rare("balanced_softmax") > plain + 5
    assert rare("gradient_reweighting") > plain + 5
