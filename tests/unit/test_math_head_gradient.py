"""The gradient that the classifier learns from (Eq. 11 and what it is made of), against the equations in loops.

The restatement below knows nothing of the method's code: its losses are written out from the equations, their
gradients come from autograd, and every coefficient is computed class by class.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trainer.distill.base import DISTILLATIONS
from trainer.distill.dakd import DistributionAwareKD
from trainer.methods.gradient_reweighting import GradientReweighting
from trainer.nets import resnet
from trainer.nets.heads import LinearHead
from trainer.nets.network import Network, Outputs
from trainer.nets.resnet import Maps
from trainer.stages.optim import OptimConfig
from trainer.stages.stage import Step, TaskContext

B, D = 6, 4
COUNTS = [40.0, 9.0, 3.0, 25.0, 6.0]
OLD = 3
EXEMPLARS = 5
MEMBERS = [{"alpha": 1.0, "lambda": 0.7, "temperature": 2.0}, {"alpha": 3.0, "lambda": 0.1, "temperature": 4.5}]


def float64(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def context(old: int = OLD, counts: list[float] = COUNTS, exemplars: int = EXEMPLARS) -> TaskContext:
    kept = [min(n, exemplars) if k < old else n for k, n in enumerate(counts)]
    return TaskContext(
        index=int(old > 0),
        old=old,
        new=len(counts) - old,
        sizes=(old, len(counts) - old) if old else (len(counts),),
        members=len(MEMBERS),
        counts_K=float64(counts),
        kept_K=float64(kept),
        hyperparameters={name: float64([member[name] for member in MEMBERS]) for name in MEMBERS[0]},
        optim=OptimConfig(),
        dtype=torch.float64,
    )


@dataclass
class Batch:
    """What reaches the head in one step, for every member."""

    features_MBD: Tensor
    weight_MKD: Tensor
    bias_MK: Tensor
    labels_MB: Tensor
    teacher_MBm: Tensor | None

    @classmethod
    def draw(cls, step: int, task: TaskContext) -> Self:
        generator = torch.Generator().manual_seed(step)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, dtype=torch.float64, generator=generator)

        return cls(
            normal(task.members, B, D),
            normal(task.members, task.seen, D),
            normal(task.members, task.seen),
            torch.randint(task.seen, (task.members, B), generator=generator),
            2 * normal(task.members, B, task.old) if task.old else None,
        )


@dataclass
class Trained:
    """What the method made of a batch."""

    terms: dict[str, Tensor]
    weight_grad_MKD: Tensor
    bias_grad_MK: Tensor
    feature_grad_MBD: Tensor


NET = resnet.build("small", 1, [0] * len(MEMBERS))


def outputs(features_MBD: Tensor, logits_MBK: Tensor, weight_MKD: Tensor) -> Outputs:
    return Outputs(features_MBD, logits_MBK, Maps(features_MBD, features_MBD, ()), weight_MKD=weight_MKD)


@dataclass
class Training:
    """The method's own hooks, called as the loop calls them."""

    method: GradientReweighting
    task: TaskContext
    buffers: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.stage,) = self.method.plan(replace(self.task, method_state=self.buffers))
        self.buffers = dict(self.stage.buffers)

    def step(self, batch: Batch, adjusted: bool = True) -> Trained:
        head = LinearHead(self.task.members, D, self.task.seen).double()
        head.load_state_dict({"weight_MKD": batch.weight_MKD, "bias_MK": batch.bias_MK})
        features_MBD = batch.features_MBD.clone().requires_grad_()
        logits_MBK = head(features_MBD)
        teacher = None
        if batch.teacher_MBm is not None:
            teacher = outputs(batch.features_MBD.flip(1), batch.teacher_MBm, batch.weight_MKD[:, : self.task.old])
        out = outputs(features_MBD, logits_MBK, head.weight_MKD)._replace(teacher=teacher)
        step = Step(out, batch.labels_MB, self.task, self.buffers, Network(NET, {"head": head}))
        terms = self.stage.loss(step)
        sum(value_M.sum() for value_M in terms.values()).backward()  # type: ignore[union-attr]
        if adjusted and self.stage.adjust_grads is not None:
            self.stage.adjust_grads(step)
        assert head.weight_MKD.grad is not None
        assert head.bias_MK.grad is not None
        assert features_MBD.grad is not None
        return Trained(terms, head.weight_MKD.grad, head.bias_MK.grad, features_MBD.grad)


# -- the equations, word for word, for one run ------------------------------------------------------


class Literal:
    """One run. ``options``: the switches, complete."""

    def __init__(self, options: dict[str, Any], task: TaskContext, member: dict[str, float]) -> None:
        self.options = options
        self.m, self.seen = task.old, task.seen
        self.n = task.counts_K.tolist()
        self.e = task.kept_K.tolist()
        self.gamma, self.lambda_b, self.T = member["alpha"], member["lambda"], member["temperature"]
        self.phi = [0.0] * self.seen

    def prior(self) -> list[float]:
        numbers = {"counts": self.e, "all_counts": self.n, "grads": self.phi}.get(self.options["prior"])
        if numbers is None or sum(numbers) == 0:
            return [0.0] * self.seen
        return [math.log(number / sum(numbers)) for number in numbers]

    def cross_entropy(self, z: Tensor, y: Tensor) -> Tensor:
        pi = self.prior()
        total = torch.zeros((), dtype=torch.float64)
        for b in range(B):
            exps = [torch.exp(z[b, k] + pi[k]) for k in range(self.seen)]
            total = total + torch.log(exps[int(y[b])] / sum(exps))
        return -total / B

    def distillation(self, z: Tensor, zt: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for b in range(B):
            q = [torch.exp(zt[b, j] / self.T) for j in range(self.m)]
            p = [torch.exp(z[b, j] / self.T) for j in range(self.m)]
            for j in range(self.m):
                total = total + q[j] / sum(q) * torch.log(p[j] / sum(p))
        return -total / B

    def dakd(self, z: Tensor, zt: Tensor) -> Tensor:
        if self.options["kd"] == "kd":
            return self.distillation(z, zt)
        lost = [self.n[j] - self.e[j] for j in range(self.m)]
        smooth = self.options["entropy_smoothing"]
        d = [(v + smooth) / (sum(lost) + self.m * smooth) for v in lost]
        rho = -sum(v * math.log(v) for v in d if v > 0) / math.log(self.m)
        length = max(lost) if self.options["lost_norm"] == "max" else math.sqrt(sum(v * v for v in lost))
        a = [v / length for v in lost]
        mixed = torch.stack([a[j] * z[:, j] + (1 - a[j]) * zt[:, j] for j in range(self.m)], dim=1)
        return rho * self.distillation(z, zt) + (1 - rho) * self.distillation(mixed, zt)

    def weight(self) -> float:
        """lambda, with T^2 where the code has it."""
        n_old, n_new = sum(self.n[: self.m]), sum(self.n[self.m :])
        growth = math.sqrt(n_old / n_new) if self.options["kd_weight"] == "images" else self.m / (self.seen - self.m)
        return self.lambda_b * growth * (self.T**2 if self.options["kd_t2"] else 1)

    def attenuation(self) -> float:
        by_images = self.options["attenuate_by"] == "images"
        share = sum(self.n[: self.m]) / sum(self.n) if by_images else self.m / self.seen
        return math.exp(-self.gamma * share)

    def coefficients(self) -> list[float]:
        """alpha_j r_j of every class."""
        everything = list(range(self.seen))
        if self.options["group"] == "none":
            return [1.0] * self.seen
        if self.options["group"] == "joint" or self.m == 0:
            return [min(self.phi) / self.phi[j] for j in everything]
        old, new = everything[: self.m], everything[self.m :]
        R = (sum(self.phi[j] for j in new) / len(new)) / (sum(self.phi[j] for j in old) / len(old))
        A = self.attenuation()
        r_old, r_new = {
            "code": (min(1, R), min(1, R * A)),
            "text": (min(1, R), min(1, (1 / R) / A)),
            "none": (1.0, 1.0),
        }[self.options["task_ratio"]]
        return [min(self.phi[k] for k in old) / self.phi[j] * r_old for j in old] + [
            min(self.phi[k] for k in new) / self.phi[j] * r_new for j in new
        ]

    def step(self, x: Tensor, W: Tensor, b: Tensor, y: Tensor, zt: Tensor | None) -> tuple[Tensor, Tensor, dict]:
        W, b = W.clone().requires_grad_(), b.clone().requires_grad_()
        z = x @ W.T + b
        ce = self.cross_entropy(z, y)
        ce_W, ce_b = torch.autograd.grad(ce, [W, b], retain_graph=True)
        self.phi = [self.phi[j] + math.sqrt(sum(float(v) ** 2 for v in ce_W[j])) for j in range(self.seen)]
        scale = self.coefficients()
        G = torch.stack([scale[j] * ce_W[j] for j in range(self.seen)])
        g = torch.stack([(scale[j] if self.options["reweight_bias"] else 1) * ce_b[j] for j in range(self.seen)])
        terms = {"ce": ce}
        if zt is not None and self.options["kd"] != "none":
            loss = self.dakd(z, zt)
            terms["kd"] = self.weight() * loss
            kd_W, kd_b = torch.autograd.grad(loss, [W, b])
            beta = self.weight()
            if self.options["beta"] == "norm":
                beta = float(G.square().sum().sqrt() / kd_W[: self.m].square().sum().sqrt())
                beta = min(beta, self.options["beta_cap"] or math.inf)
            for j in range(self.m):
                again = scale[j] if self.options["reweight_kd"] else 1
                G[j] = G[j] + beta * again * kd_W[j]
                g[j] = g[j] + beta * again * kd_b[j]
        return G.detach(), g.detach(), terms


def assert_equal_over_steps(switches: dict[str, Any], task: TaskContext, steps: int = 3) -> None:
    method = GradientReweighting(**switches)
    training = Training(method, task)
    literals = [Literal(method.model_dump(by_alias=True), task, member) for member in MEMBERS]
    for number in range(steps):
        batch = Batch.draw(number, task)
        done = training.step(batch)
        for m, literal in enumerate(literals):
            zt = None if batch.teacher_MBm is None else batch.teacher_MBm[m]
            G, g, terms = literal.step(
                batch.features_MBD[m], batch.weight_MKD[m], batch.bias_MK[m], batch.labels_MB[m], zt
            )
            torch.testing.assert_close(done.weight_grad_MKD[m], G, atol=1e-9, rtol=0)
            torch.testing.assert_close(done.bias_grad_MK[m], g, atol=1e-9, rtol=0)
            assert {k: float(v[m].detach()) for k, v in done.terms.items()} == pytest.approx(
                {k: float(v.detach()) for k, v in terms.items()}, rel=1e-10
            )


SWITCHES: dict[str, list[Any]] = {
    "preset": ["official", "paper", "pilot"],
    "prior": ["counts", "all_counts", "grads", "none"],
    "group": ["decoupled", "joint", "none"],
    "reweight_bias": [True, False],
    "task_ratio": ["code", "text", "none"],
    "attenuate_by": ["images", "classes"],
    "kd": ["dakd", "kd", "none"],
    "kd_weight": ["images", "classes"],
    "kd_t2": [True, False],
    "beta": ["norm", "one"],
    "beta_cap": [None, 0.05, 3.0],
    "reweight_kd": [True, False],
    "lost_norm": ["l2", "max"],
    "entropy_smoothing": [0.001, 0.0, 2.5],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in SWITCHES.items() for value in values])
def test_each_switch_follows_the_equations(name: str, value: Any) -> None:
    assert_equal_over_steps({name: value}, context())
    assert_equal_over_steps({name: value}, context(old=0))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in SWITCHES.items()}))
def test_any_combination_of_switches_follows_the_equations(switches: dict[str, Any]) -> None:
    assert_equal_over_steps(switches, context(), steps=2)


# -- consequences -----------------------------------------------------------------------------------


def first_step(**switches: Any) -> Trained:
    task = context()
    return Training(GradientReweighting(**switches), task).step(Batch.draw(0, task))


def test_the_classifier_is_untouched_by_lambda_and_by_the_square_of_the_temperature() -> None:
    task, batch = context(), Batch.draw(0, context())
    plain = Training(GradientReweighting(), task).step(batch)
    task.hyperparameters["lambda"].mul_(7.3)
    for changed in (Training(GradientReweighting(), task).step(batch), first_step(kd_t2=False)):
        assert torch.equal(changed.weight_grad_MKD, plain.weight_grad_MKD)
        assert torch.equal(changed.bias_grad_MK, plain.bias_grad_MK)
        assert not torch.allclose(changed.feature_grad_MBD, plain.feature_grad_MBD)


def test_the_backbone_learns_from_the_plain_gradient() -> None:
    task, batch = context(), Batch.draw(0, context())
    done = Training(GradientReweighting(), task).step(batch)
    x = batch.features_MBD.clone().requires_grad_()
    assert batch.teacher_MBm is not None
    for m, member in enumerate(MEMBERS):
        literal = Literal(GradientReweighting().model_dump(by_alias=True), task, member)
        z = x[m] @ batch.weight_MKD[m].T + batch.bias_MK[m]
        loss = literal.cross_entropy(z, batch.labels_MB[m]) + literal.weight() * literal.dakd(z, batch.teacher_MBm[m])
        (expected_MBD,) = torch.autograd.grad(loss, x)
        torch.testing.assert_close(done.feature_grad_MBD[m], expected_MBD[m], atol=1e-12, rtol=0)


def test_distillation_and_reweighted_cross_entropy_have_equal_norms() -> None:
    both, alone = first_step(), first_step(kd="none")
    distilled_MKD = both.weight_grad_MKD - alone.weight_grad_MKD
    torch.testing.assert_close(distilled_MKD.norm(dim=(1, 2)), alone.weight_grad_MKD.norm(dim=(1, 2)))
    assert distilled_MKD[:, OLD:].abs().max() == 0


@pytest.mark.parametrize("kd", DISTILLATIONS.names())
def test_with_nothing_reweighted_it_is_the_plain_gradient_whatever_the_distillation(kd: str) -> None:
    task = context()
    training = Training(GradientReweighting(kd=kd, group="none", beta="one"), task)
    batch = Batch.draw(0, task)
    plain, found = training.step(batch, adjusted=False), training.step(batch)
    torch.testing.assert_close(found.weight_grad_MKD, plain.weight_grad_MKD, atol=1e-12, rtol=0)
    torch.testing.assert_close(found.bias_grad_MK, plain.bias_grad_MK, atol=1e-12, rtol=0)


@pytest.mark.parametrize("kd", DISTILLATIONS.names())
def test_the_scale_of_a_distillation_reaches_the_backbone_alone(kd: str) -> None:
    task = context()
    first = Training(GradientReweighting(kd=kd), task).step(Batch.draw(0, task))
    task.hyperparameters["lambda"].mul_(3)
    second = Training(GradientReweighting(kd=kd), task).step(Batch.draw(0, task))
    nothing = Training(GradientReweighting(kd="none"), task).step(Batch.draw(0, task)).feature_grad_MBD
    assert torch.equal(second.weight_grad_MKD, first.weight_grad_MKD)
    torch.testing.assert_close(second.feature_grad_MBD - nothing, 3 * (first.feature_grad_MBD - nothing))


def test_the_cap_holds_the_distillation_down() -> None:
    alone = first_step(kd="none").weight_grad_MKD
    capped, free = (first_step(beta_cap=cap).weight_grad_MKD for cap in (0.01, 1e6))
    assert (capped - alone).norm() < (free - alone).norm()
    assert torch.equal(free, first_step().weight_grad_MKD)


def test_the_weakest_class_of_each_group_keeps_its_gradient() -> None:
    reweighted, plain = first_step(kd="none", task_ratio="none"), first_step(kd="none", group="none")
    ratio_MK = reweighted.weight_grad_MKD.norm(dim=2) / plain.weight_grad_MKD.norm(dim=2)
    for group_MK in (ratio_MK[:, :OLD], ratio_MK[:, OLD:]):
        torch.testing.assert_close(group_MK.amax(1), torch.ones(len(MEMBERS), dtype=torch.float64))


# -- guards -----------------------------------------------------------------------------------------


def test_a_student_that_equals_its_teacher_is_not_pulled_by_noise() -> None:
    task = context()
    batch = Batch.draw(0, task)
    logits_MBK = batch.features_MBD @ batch.weight_MKD.transpose(1, 2) + batch.bias_MK[:, None]
    batch.teacher_MBm = logits_MBK[..., :OLD]
    done = Training(GradientReweighting(), task).step(batch)
    alone = Training(GradientReweighting(kd="none"), task).step(batch)
    torch.testing.assert_close(done.weight_grad_MKD, alone.weight_grad_MKD, atol=1e-12, rtol=0)


def test_lambda_zero_switches_the_distillation_off_at_the_classifier_too() -> None:
    task = context()
    task.hyperparameters["lambda"].zero_()
    done = Training(GradientReweighting(), task).step(Batch.draw(0, task))
    assert torch.equal(done.weight_grad_MKD, first_step(kd="none").weight_grad_MKD)


def test_where_nothing_was_lost_dakd_is_plain_distillation() -> None:
    task = context(exemplars=1000)
    batch = Batch.draw(0, task)
    dakd, plain = (Training(GradientReweighting(kd=kind), task).step(batch) for kind in ("dakd", "kd"))
    assert torch.equal(dakd.terms["kd"], plain.terms["kd"])
    assert torch.equal(dakd.weight_grad_MKD, plain.weight_grad_MKD)


@pytest.mark.parametrize(
    ("old", "counts"), [(1, [30.0, 8.0, 2.0]), (2, [30.0, 8.0, 2.0]), (1, [30.0, 8.0]), (0, [5.0])]
)
def test_a_group_of_one_class_is_its_own_weakest(old: int, counts: list[float]) -> None:
    task = context(old=old, counts=counts)
    batch = Batch.draw(0, task)
    done = Training(GradientReweighting(task_ratio="none", kd="none"), task).step(batch)
    plain = Training(GradientReweighting(group="none", kd="none"), task).step(batch)
    for single in ([0] if old == 1 or len(counts) == 1 else []) + ([len(counts) - 1] if len(counts) - old == 1 else []):
        torch.testing.assert_close(done.weight_grad_MKD[:, single], plain.weight_grad_MKD[:, single])
    whole = Training(GradientReweighting(), task).step(batch)
    assert whole.weight_grad_MKD.isfinite().all()
    assert all(value_M.isfinite().all() for value_M in whole.terms.values())


def test_no_exemplars_at_all_stay_finite() -> None:
    task = context(exemplars=0)
    batch = Batch.draw(0, task)
    batch.labels_MB.clamp_(min=OLD)
    done = Training(GradientReweighting(), task).step(batch)
    assert done.weight_grad_MKD.isfinite().all()
    assert done.feature_grad_MBD.isfinite().all()
    assert all(value_M.isfinite().all() for value_M in done.terms.values())


def test_gradient_norms_are_carried_over_where_they_are_not_reset() -> None:
    first = Training(GradientReweighting(phi_reset=False), context(old=0, counts=COUNTS[:OLD]))
    first.step(Batch.draw(0, first.task))
    second = Training(GradientReweighting(phi_reset=False), context(), first.buffers)
    assert torch.equal(second.buffers["phi_MK"][:, :OLD], first.buffers["phi_MK"])
    assert second.buffers["phi_MK"][:, OLD:].abs().max() == 0
    assert Training(GradientReweighting(), context(), first.buffers).buffers["phi_MK"].abs().max() == 0


# -- published numbers ------------------------------------------------------------------------------


def test_constants_of_cifar100_lt_in_ten_tasks() -> None:
    """CIFAR-100-LT, ratio 100, ten tasks of ten, a tenth of each class held out, 20 exemplars a class."""
    profile = [int(500 * 0.01 ** (i / 99)) for i in range(100)]
    assert sum(profile) == 10847
    held = [n - round(0.1 * n) for n in profile]  # Python, like NumPy, rounds half to even
    order = [int(label) for label in np.random.RandomState(1993).permutation(100)]
    counts = [float(held[label]) for label in order]
    method = GradientReweighting()
    attenuation, weight, balance, largest_share = [], [], [], []
    for t in range(1, 10):
        task = context(old=10 * t, counts=counts[: 10 * (t + 1)], exemplars=20)
        constants = method.constants(task)
        assert isinstance(constants.distillation, DistributionAwareKD)
        attenuation.append(float(constants.attenuation_M[0]))
        weight.append(float(constants.kd_weight_M[0]) / 4)
        balance.append(constants.distillation.lost.balance)
        largest_share.append(float(constants.distillation.lost.share_m.max()))
    assert attenuation == pytest.approx([0.703, 0.545, 0.498, 0.433, 0.425, 0.439, 0.429, 0.425, 0.387], abs=6e-4)
    assert weight == pytest.approx([0.52, 0.87, 1.06, 1.59, 1.70, 1.51, 1.65, 1.70, 3.04], abs=6e-3)
    assert balance == pytest.approx([0.330, 0.634, 0.704, 0.751, 0.766, 0.760, 0.782, 0.806, 0.811], abs=6e-4)
    assert (largest_share[0], largest_share[-1]) == pytest.approx((0.91, 0.31), abs=6e-3)
