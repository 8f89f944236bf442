"""What every distillation promises, known by its file alone, and what each of them is at the edges of the others."""

import math
from pathlib import Path
from typing import Self

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

import trainer.distill
from trainer.config.files import parse_run
from trainer.distill.base import DISTILLATIONS, NONE, KnowledgeDistillation, OldClasses, Pair, prepare
from trainer.distill.bkd import BalancedKD
from trainer.distill.dakd import DistributionAwareKD, LostData
from trainer.distill.dckd import DecoupledKD
from trainer.distill.dpkd import DecomposedKD
from trainer.distill.kd import kd, kd_grad
from trainer.distill.mkd import MultiLevelKD
from trainer.errors import ConfigError
from trainer.methods.base import METHODS
from trainer.nets.network import Network
from trainer.nets.resnet import build

M, B, D, OLD, NEW = 3, 7, 6, 4, 2
T_M = torch.tensor([1.0, 2.0, 4.5], dtype=torch.float64)
COUNTS = [480.0, 200.0, 60.0, 8.0]
every_one = pytest.mark.parametrize("name", DISTILLATIONS.names())


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def old_classes(old: int = OLD) -> OldClasses:
    counts_m = torch.tensor(COUNTS[:old], dtype=torch.float64)
    return OldClasses(counts_m, counts_m.clamp_max(20))


def prepared(name: str, old: int = OLD) -> KnowledgeDistillation:
    found = prepare(name, old_classes(old))
    assert found is not None
    return found


class Heads:
    """A student's head with new classes and a teacher's, on features of either sign, ready for gradients."""

    def __init__(self, old: int = OLD, scale: float = 1.0, dtype: torch.dtype = torch.float64) -> None:
        self.old = old
        self.weight_MKD = (scale * draw(M, old + NEW, D, seed=0)).to(dtype).requires_grad_()
        self.bias_MK = draw(M, old + NEW, seed=1).to(dtype).requires_grad_()
        self.features_MBD = draw(M, B, D, seed=2).to(dtype).requires_grad_()
        self.teacher_weight_MmD = (scale * draw(M, old, D, seed=3)).to(dtype)
        self.teacher_features_MBD = draw(M, B, D, seed=4).to(dtype)
        self.labels_MB = torch.arange(M * B).view(M, B) % (old + NEW)
        self.temperature_M = T_M.to(dtype)

    def same(self) -> Self:
        """The teacher has become the student."""
        self.teacher_weight_MmD = self.weight_MKD.detach()[:, : self.old]
        self.teacher_features_MBD = self.features_MBD.detach()
        return self

    @property
    def pair(self) -> Pair:
        logits_MBK = self.features_MBD @ self.weight_MKD.transpose(1, 2) + self.bias_MK[:, None]
        teacher_MBm = self.teacher_features_MBD @ self.teacher_weight_MmD.transpose(1, 2)
        bias_Mm = self.bias_MK.detach()[:, : self.old]
        return Pair(
            logits_MBK[..., : self.old],
            teacher_MBm + bias_Mm[:, None],
            self.temperature_M,
            self.labels_MB,
            self.features_MBD,
            self.teacher_features_MBD,
            self.weight_MKD[:, : self.old],
            self.teacher_weight_MmD,
        )

    def gradients(self, loss_M: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """In rows, biases and features."""
        return torch.autograd.grad(loss_M.sum(), [self.weight_MKD, self.bias_MK, self.features_MBD])


# -- what every distillation promises -----------------------------------------------------------------


@every_one
@pytest.mark.parametrize("old", [1, 2, OLD])
def test_the_head_s_gradient_in_closed_form_is_autograd_s(name: str, old: int) -> None:
    heads, distillation = Heads(old), prepared(name, old)
    weight_MKD, bias_MK, features_MBD = heads.gradients(distillation.loss(heads.pair))
    found = distillation.at_head(heads.pair)
    torch.testing.assert_close(found.weight_MmD, weight_MKD[:, :old], atol=1e-12, rtol=0)
    torch.testing.assert_close(found.bias_Mm, bias_MK[:, :old], atol=1e-12, rtol=0)
    assert features_MBD.isfinite().all()


@every_one
def test_the_gradient_in_the_logits_is_autograd_s(name: str) -> None:
    pair, distillation = Heads().pair, prepared(name)
    logits_MBm = pair.logits_MBm.detach().requires_grad_()
    (expected,) = torch.autograd.grad(distillation.loss(pair._replace(logits_MBm=logits_MBm)).sum(), logits_MBm)
    torch.testing.assert_close(distillation.grad(pair), expected, atol=1e-12, rtol=0)


@every_one
def test_new_classes_feel_nothing(name: str) -> None:
    heads = Heads()
    weight_MKD, bias_MK, _ = heads.gradients(prepared(name).loss(heads.pair))
    assert weight_MKD[:, OLD:].abs().max() == 0
    assert bias_MK[:, OLD:].abs().max() == 0
    assert weight_MKD[:, :OLD].abs().max() > 0


@pytest.mark.parametrize("name", sorted(set(DISTILLATIONS.names()) - {"bkd"}))
def test_a_student_that_equals_its_teacher_is_left_alone(name: str) -> None:
    heads, distillation = Heads().same(), prepared(name)
    for gradient in (*heads.gradients(distillation.loss(heads.pair)), *distillation.at_head(heads.pair)):
        assert gradient.abs().max() < 1e-14


@every_one
def test_one_old_class_has_nothing_to_keep(name: str) -> None:
    heads, distillation = Heads(old=1), prepared(name, 1)
    loss_M = distillation.loss(heads.pair._replace(weight_MmD=heads.weight_MKD[:, :1]))
    assert loss_M.abs().max() < 1e-14
    assert all(gradient.abs().max() < 1e-14 for gradient in heads.gradients(loss_M))
    assert all(gradient.abs().max() == 0 for gradient in distillation.at_head(heads.pair))


@every_one
def test_extreme_logits_stay_finite_in_single_precision(name: str) -> None:
    for old in (1, OLD):
        heads, distillation = Heads(old, scale=1e4, dtype=torch.float32), prepared(name, old)
        assert heads.pair.logits_MBm.abs().max() > 1e4
        loss_M = distillation.loss(heads.pair)
        for value in (loss_M, *heads.gradients(loss_M), *distillation.at_head(heads.pair)):
            assert value.isfinite().all()
            assert value.dtype == torch.float32


@every_one
def test_a_member_is_alone(name: str) -> None:
    pair, distillation = Heads().pair, prepared(name)
    for m in range(M):
        alone = Pair(*(None if value is None else value[m : m + 1] for value in pair))
        torch.testing.assert_close(distillation.loss(alone), distillation.loss(pair)[m : m + 1], atol=1e-13, rtol=0)
        for one, all_ in zip(distillation.at_head(alone), distillation.at_head(pair), strict=True):
            torch.testing.assert_close(one, all_[m : m + 1], atol=1e-13, rtol=0)


@every_one
def test_images_of_new_classes_alone_are_distilled_too(name: str) -> None:
    heads = Heads()
    heads.labels_MB = torch.full((M, B), OLD + 1)
    loss_M = prepared(name).loss(heads.pair)
    weight_MKD, _, _ = heads.gradients(loss_M)
    assert loss_M.isfinite().all()
    assert (weight_MKD[:, :OLD].norm(dim=(1, 2)) > 0).all()


@every_one
def test_a_single_image_is_a_batch(name: str) -> None:
    pair, distillation = Heads().pair, prepared(name)
    one = pair._replace(
        **{field: value[:, :1] for field, value in pair._asdict().items() if field.endswith(("MBm", "MBD", "MB"))}
    )
    assert distillation.loss(one).isfinite().all()
    assert distillation.at_head(one).weight_MmD.isfinite().all()


# -- each at the edges of plain distillation -----------------------------------------------------------


def sums_to_kd(distillation: KnowledgeDistillation) -> None:
    heads = Heads()
    pair = heads.pair
    torch.testing.assert_close(distillation.loss(pair), kd(pair.logits_MBm, pair.teacher_MBm, T_M), atol=1e-12, rtol=0)
    expected = kd_grad(pair.logits_MBm, pair.teacher_MBm, T_M)
    torch.testing.assert_close(distillation.grad(pair), expected, atol=1e-12, rtol=0)
    assert distillation.at_head(pair).weight_MmD.isfinite().all()


def teacher_of_target(pair: Pair) -> Tensor:
    """Softened probability of each image's own class, 0 where it is new."""
    t = (pair.teacher_MBm / T_M[:, None, None]).softmax(2)
    old_MB = pair.labels_MB < OLD
    return torch.where(old_MB, t.gather(2, pair.labels_MB.clamp_max(OLD - 1).unsqueeze(2)).squeeze(2), 0)


def test_all_are_plain_distillation_with_their_own_idea_off() -> None:
    equal = OldClasses(torch.full((OLD,), 50.0, dtype=torch.float64), torch.full((OLD,), 20.0, dtype=torch.float64))
    sums_to_kd(BalancedKD.prepare(equal))
    sums_to_kd(DistributionAwareKD(LostData(1.0, old_classes().counts_m)))
    sums_to_kd(MultiLevelKD(factors=(1.0,), relations=False))
    sums_to_kd(DecoupledKD(alpha=1.0, beta=1 - teacher_of_target(Heads().pair)))
    sums_to_kd(DecomposedKD(parts=False))


# -- each by itself ------------------------------------------------------------------------------------


def test_the_balanced_teacher_weighs_classes_by_their_effective_numbers() -> None:
    pair = Heads().pair
    omega = [(1 - 0.9999) / (1 - 0.9999**n) for n in COUNTS]
    t = (pair.teacher_MBm / T_M[:, None, None]).softmax(2) * torch.tensor(omega, dtype=torch.float64)
    t = t / t.sum(2, keepdim=True)
    expected_M = -(t * (pair.logits_MBm / T_M[:, None, None]).log_softmax(2)).sum(2).mean(1)
    torch.testing.assert_close(BalancedKD.prepare(old_classes()).loss(pair), expected_M, atol=1e-10, rtol=0)
    same = Heads().same().pair
    pushed_MBm = -BalancedKD.prepare(old_classes()).grad(same)
    assert (pushed_MBm[..., -1] > 0).all(), "the class with fewest images is pushed up, whatever the teacher says"


def test_levels_are_the_papers_formulas_at_2_to_6() -> None:
    pair = Heads().pair._replace(temperature_M=torch.full((M,), 2.0, dtype=torch.float64))
    expected_M = torch.zeros(M, dtype=torch.float64)
    for T in (2.0, 3.0, 4.0, 5.0, 6.0):
        s, t = (pair.logits_MBm / T).softmax(2), (pair.teacher_MBm / T).softmax(2)
        images = (t @ t.mT - s @ s.mT).square().sum((1, 2)) / B
        classes = (t.mT @ t - s.mT @ s).square().sum((1, 2)) / OLD
        expected_M += (T**2 * -(t * s.log()).sum(2).mean(1) + images + classes) / 5
    torch.testing.assert_close(4 * MultiLevelKD().loss(pair), expected_M, atol=1e-12, rtol=0)


def test_a_target_and_the_rest_of_two_classes_leave_nothing_to_spread() -> None:
    heads = Heads(old=2)
    heads.labels_MB = torch.zeros(M, B, dtype=torch.int64)
    of_rest = DecoupledKD(alpha=0.0, beta=1.0)
    assert of_rest.loss(heads.pair).abs().max() < 1e-14
    assert DecoupledKD(alpha=1.0, beta=0.0).loss(heads.pair).abs().max() > 0


def test_an_image_of_a_new_class_is_distilled_over_all_old_ones() -> None:
    heads = Heads()
    heads.labels_MB = torch.full((M, B), OLD)
    pair = heads.pair
    expected_M = 2 * kd(pair.logits_MBm, pair.teacher_MBm, T_M)
    torch.testing.assert_close(DecoupledKD(beta=2.0).loss(pair), expected_M, atol=1e-12, rtol=0)


def literal_parts(x_BD: Tensor, w_mD: Tensor) -> tuple[Tensor, Tensor]:
    products = x_BD[:, None] * w_mD[None]
    return products.clamp(min=0).sum(2), products.clamp(max=0).sum(2)


def test_evidence_for_and_against_a_class_is_kept_apart() -> None:
    heads = Heads()
    pair = heads.pair
    for m in range(M):
        wanted = [pair.teacher_MBm[m], *literal_parts(pair.teacher_features_MBD[m], heads.teacher_weight_MmD[m])]
        found = [pair.logits_MBm[m], *literal_parts(pair.features_MBD[m], heads.weight_MKD[m, :OLD])]
        torch.testing.assert_close(found[1] + found[2] + heads.bias_MK[m, :OLD], found[0])
        expected = sum(kd(z[None], s[None], T_M[m : m + 1]) for z, s in zip(found, wanted, strict=True)) / 3
        torch.testing.assert_close(DecomposedKD().loss(pair)[m : m + 1], expected, atol=1e-12, rtol=0)


def test_equal_logits_of_other_evidence_are_seen() -> None:
    pair = Heads().same().pair
    shifted = torch.cat([pair.features_MBD, pair.features_MBD[..., :1]], 2)
    extra = torch.linspace(1, 2, OLD, dtype=torch.float64).expand(M, OLD).unsqueeze(2)
    # One more weight on a feature, taken back by its copy: the logits are as before.
    own = torch.cat([pair.weight_MmD[..., :1] + extra, pair.weight_MmD[..., 1:], -extra], 2)  # type: ignore[index]
    other = pair._replace(features_MBD=shifted, weight_MmD=own)
    torch.testing.assert_close((shifted @ own.mT), pair.features_MBD @ pair.weight_MmD.mT)  # type: ignore[union-attr]
    plain, apart = prepared("kd"), prepared("dpkd")
    assert torch.equal(plain.loss(other), plain.loss(pair))
    assert (apart.loss(other) > apart.loss(pair) + 1e-6).all()


def test_without_rows_evidence_cannot_be_taken_apart() -> None:
    with pytest.raises(TypeError, match="linear head"):
        prepared("dpkd").loss(Heads().pair._replace(weight_MmD=None))


# -- one field --------------------------------------------------------------------------------------------


def taking_any() -> list[str]:
    return [name for name in METHODS.names() if "kd" in METHODS.find(name).model_fields]


def test_names_are_the_files() -> None:
    assert set(DISTILLATIONS.names()) >= {"kd", "bkd", "mkd", "dckd", "dpkd", "dakd"}
    assert all(DISTILLATIONS.find(name).__module__ == f"trainer.distill.{name}" for name in DISTILLATIONS.names())
    assert prepare(NONE, old_classes()) is None
    assert all(prepare(name, OldClasses(torch.zeros(0), torch.zeros(0))) is None for name in DISTILLATIONS.names())
    with pytest.raises(ConfigError, match=r"features\.py must define one subclass of KnowledgeDistillation"):
        DISTILLATIONS.find("features")


@pytest.mark.parametrize("method", taking_any())
def test_a_method_takes_each_of_them_or_none(method: str) -> None:
    for name in (*DISTILLATIONS.names(), NONE):
        assert METHODS.find(method).model_validate({"kd": name})
    with pytest.raises(ValidationError):
        METHODS.find(method).model_validate({"kd": "kdd"})
    listed = METHODS.find(method).model_json_schema()["properties"]["kd"]["enum"]
    assert sorted(listed) == sorted([*DISTILLATIONS.names(), NONE])


@pytest.mark.parametrize("name", taking_any())
def test_the_rows_that_a_method_shows_make_its_logits(name: str) -> None:
    method = METHODS.find(name)()
    network = Network(build("small", 3, [0, 1]), method.parts(2, 64))
    for task in range(3):
        network.grow(2, [0, 1], task)
    for number, parameter in enumerate(network.parameters()):
        parameter.data.add_(0.1 * draw(*parameter.shape, seed=number).to(parameter))
    out = method.outputs(network.double().eval(), draw(B, 2 * 3, 8, 8, seed=0))
    assert out.weight_MKD is not None
    biases_MBK = out.logits_MBK - out.features_MBD @ out.weight_MKD.mT
    torch.testing.assert_close(biases_MBK, biases_MBK[:, :1].expand_as(biases_MBK), atol=1e-10, rtol=0)


def test_a_wrong_name_is_one_line() -> None:
    allowed = f"is not one of the choices; allowed: {', '.join([NONE, *DISTILLATIONS.names()])}"
    for wrong, line in {"dakdd": f"'dakdd' {allowed}; did you mean 'dakd'?", 3: f"3 {allowed}"}.items():
        with pytest.raises(ConfigError) as error:
            parse_run({"method": {"name": "gradient_reweighting", "kd": wrong}})
        assert str(error.value) == f"method.kd: {line}"


def test_a_file_is_all_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half.py").write_text(
        "from trainer.distill.kd import PlainKD\n"
        "class HalfKD(PlainKD):\n"
        "    def loss(self, pair):\n"
        "        return super().loss(pair) / 2\n"
    )
    monkeypatch.setattr(trainer.distill, "__path__", [*trainer.distill.__path__, str(tmp_path)])
    assert set(DISTILLATIONS.names()) >= {"half", "kd"}
    pair = Heads().pair
    assert torch.equal(prepared("half").loss(pair), prepared("kd").loss(pair) / 2)


def test_constants_of_a_task_are_those_of_its_counts() -> None:
    lost = [460.0, 180.0, 40.0, 0.0]
    made = prepared("dakd")
    assert isinstance(made, DistributionAwareKD)
    assert made.lost.share_m.tolist() == pytest.approx([v / math.hypot(*lost) for v in lost])
