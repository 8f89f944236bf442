"""Gradient reweighting for imbalanced class-incremental learning (He & Zhu, CVPR 2024).

The loss is cross-entropy with a log prior plus distribution-aware distillation, or any other. The network learns from
its ordinary gradient; the classifier from a reweighted one (Eq. 11): each class's row is scaled by its
accumulated gradient norm within its group (Eq. 4), old and new classes against each other (Eq. 10), and the
distillation's gradient is scaled to the norm of the reweighted cross-entropy's. All of it is closed form in
the logits, so one backward pass is all it takes.

Where the paper's text and its released code differ, a switch chooses; ``preset`` sets them all at once.
"""

import math
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from pydantic import model_validator
from torch import Tensor

from trainer.distill.base import DistillationName, HeadGrad, KnowledgeDistillation, prepare
from trainer.losses.cross_entropy import cross_entropy, cross_entropy_grad, log_prior
from trainer.methods.base import Method, distillation_temperature, distillation_weight, hyperparameter
from trainer.stages.stage import Stage, Step, TaskContext, Terms

PRESETS: dict[str, dict[str, Any]] = {
    "official": {},
    "paper": {"prior": "grads", "task_ratio": "text", "kd_t2": False, "entropy_smoothing": 0.0},
    "pilot": {"prior": "all_counts", "kd": "kd", "kd_t2": False, "kd_weight": "classes", "attenuate_by": "classes"},
}

_TINY = 1e-12
"""below any gradient norm that training produces in float32: keeps 0/0 out of ratios"""
_NO_KD = 1e-8
"""a distillation gradient smaller than this is rounding noise (teacher equals student): it is not scaled up"""


class TaskConstants(NamedTuple):
    """What stays the same over the steps of one task. K classes seen, m of them old."""

    prior_K: Tensor | None
    """log prior, or None where it is none or follows the gradients"""
    distillation: KnowledgeDistillation | None
    """None in the first task too"""
    attenuation_M: Tensor
    """A of Eq. 10"""
    kd_weight_M: Tensor
    """lambda of Eq. 9, with T^2 where that is on"""


class GradientReweighting(Method):
    paper = "He & Zhu, Gradient Reweighting: Towards Imbalanced Class-Incremental Learning, CVPR 2024"
    needs_teacher = True
    differences = (
        "Where old classes have lost no images, the released code's DAKD divides 0 by 0; here it is plain "
        "distillation.",
    )

    preset: Literal["official", "paper", "pilot"] = hyperparameter("official")
    """sets every switch below that is not given: released code, paper's text, or the authors' later port"""
    alpha: float = hyperparameter(1.0, per_member=True, first_task=1, ge=0, le=100)
    """strength of the attenuation (gamma of Eq. 10)"""
    lambda_: float = distillation_weight(0.7)
    """base weight of the distillation (Eq. 9)"""
    temperature: float = distillation_temperature()
    prior: Literal["counts", "all_counts", "grads", "none"] = hyperparameter("counts")
    """log prior in the softmax (Eq. 5): class counts with old ones capped at their exemplars, full class counts,
    accumulated gradients, or none"""
    group: Literal["decoupled", "joint", "none"] = hyperparameter("decoupled")
    """reweight old and new classes apart, all together, or not at all"""
    phi_reset: bool = hyperparameter(True, first_task=1)
    """accumulate gradient norms afresh in every task"""
    reweight_bias: bool = hyperparameter(True)
    """scale the bias gradients like their rows"""
    task_ratio: Literal["code", "text", "none"] = hyperparameter("code", first_task=1)
    """how old and new classes are scaled against each other (Eq. 10)"""
    attenuate_by: Literal["images", "classes"] = hyperparameter("images", first_task=1)
    """what the old share in the attenuation counts"""
    kd: DistillationName = hyperparameter("dakd", first_task=1)
    """the distillation (Fig. 5)"""
    kd_weight: Literal["images", "classes"] = hyperparameter("images", first_task=1)
    """lambda grows with sqrt(old images / new images), or with old classes / new classes"""
    kd_t2: bool = hyperparameter(True, first_task=1)
    """multiply the distillation by the temperature squared"""
    beta: Literal["norm", "one"] = hyperparameter("norm", first_task=1)
    """scale the classifier's distillation gradient to the cross-entropy's norm, or leave it"""
    beta_cap: float | None = hyperparameter(None, first_task=1, gt=0)
    """largest scale of the distillation gradient; null: none"""
    reweight_kd: bool = hyperparameter(False, first_task=1)
    """reweight the distillation gradient by class too (the ablation)"""
    lost_norm: Literal["l2", "max"] = hyperparameter("l2", first_task=1)
    """dakd: norm of the lost-data shares (Eq. 8)"""
    entropy_smoothing: float = hyperparameter(0.001, first_task=1, ge=0, le=1000)
    """dakd: images added to each class's loss inside the entropy (Eq. 7)"""

    @model_validator(mode="before")
    @classmethod
    def _preset_fills_switches(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        preset = given.get("preset")
        return {**PRESETS.get(preset, {}), **given} if isinstance(preset, str) else given

    @classmethod
    def fields_set_by(cls, field: str) -> frozenset[str]:
        return frozenset().union(*PRESETS.values()) if field == "preset" else frozenset()

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        constants = self.constants(task)
        phi_MK = task.zeros_MK() if self.phi_reset else task.continued_MK("phi_MK")
        reweights = self.group != "none" or self.prior == "grads" or constants.distillation is not None
        adjust = partial(self.reweight, constants=constants) if reweights else None
        return (Stage("train", task.optim, partial(self.terms, constants=constants), adjust, {"phi_MK": phi_MK}),)

    def constants(self, task: TaskContext) -> TaskConstants:
        """Everything that depends on class counts alone."""
        counts_K, m, hyperparameters = task.counts_K, task.old, task.hyperparameters
        prior_counts_K = {"counts": task.kept_K, "all_counts": counts_K}.get(self.prior)
        prior_K = None if prior_counts_K is None else log_prior(prior_counts_K).to(task.dtype)
        if m == 0:
            ones_M = torch.ones_like(hyperparameters["alpha"])
            return TaskConstants(prior_K, None, ones_M, ones_M)
        images_old, images_new = float(counts_K[:m].sum()), float(counts_K[m:].sum())
        by_images = self.attenuate_by == "images"
        old_share = images_old / (images_old + images_new) if by_images else m / task.seen
        growth = math.sqrt(images_old / images_new) if self.kd_weight == "images" else m / task.new
        old = task.old_classes()._replace(lost_norm=self.lost_norm, entropy_smoothing=self.entropy_smoothing)
        return TaskConstants(
            prior_K,
            prepare(self.kd, old),
            torch.exp(-hyperparameters["alpha"] * old_share),
            hyperparameters["lambda"] * growth * (hyperparameters["temperature"] ** 2 if self.kd_t2 else 1),
        )

    def terms(self, step: Step, constants: TaskConstants) -> Terms:
        """Eq. 9: cross-entropy with the prior, plus the weighted distillation."""
        terms = {"ce": cross_entropy(step.logits_MBK, step.labels_MB, self._prior(step, constants))}
        if constants.distillation is not None:
            terms["kd"] = constants.kd_weight_M * constants.distillation.loss(step.pair())
        return terms

    @torch.no_grad()
    def reweight(self, step: Step, constants: TaskConstants) -> None:
        """Write Eq. 11 into the gradients of the head."""
        ce_MBK = cross_entropy_grad(step.logits_MBK, step.labels_MB, self._prior(step, constants))
        grad_MKD, grad_bias_MK = HeadGrad.of(ce_MBK, step.features_MBD)
        phi_MK = step.buffers["phi_MK"].add_(grad_MKD.norm(dim=2))
        scale_MK = self._scale(phi_MK, step.task, constants)
        grad_MKD = scale_MK.unsqueeze(2) * grad_MKD
        if self.reweight_bias:
            grad_bias_MK = scale_MK * grad_bias_MK
        if constants.distillation is not None:
            m = step.task.old
            kd_MmD, kd_bias_Mm = constants.distillation.at_head(step.pair())
            kd_scale_Mm = self._kd_scale(kd_MmD.norm(dim=(1, 2)), grad_MKD.norm(dim=(1, 2)), constants).unsqueeze(1)
            if self.reweight_kd:
                kd_scale_Mm = kd_scale_Mm * scale_MK[:, :m]
            grad_MKD[:, :m] += kd_scale_Mm.unsqueeze(2) * kd_MmD
            grad_bias_MK[:, :m] += kd_scale_Mm * kd_bias_Mm
        step.head.weight_MKD.grad, step.head.bias_MK.grad = grad_MKD, grad_bias_MK

    def _scale(self, phi_MK: Tensor, task: TaskContext, constants: TaskConstants) -> Tensor:
        """``alpha_j r_j``: class-balance ratio (Eq. 4) times task-balance ratio (Eq. 10), ``[M, K]``."""
        phi_MK = phi_MK.clamp_min(_TINY)
        if self.group == "none":
            return torch.ones_like(phi_MK)
        if self.group == "joint" or task.old == 0:
            return phi_MK.amin(1, keepdim=True) / phi_MK
        old_Mm, new_Mc = phi_MK[:, : task.old], phi_MK[:, task.old :]
        scale_Mm, scale_Mc = (phi.amin(1, keepdim=True) / phi for phi in (old_Mm, new_Mc))
        if self.task_ratio != "none":
            # R: mean accumulated gradient of new classes over that of old ones.
            ratio_M1 = new_Mc.mean(1, keepdim=True) / old_Mm.mean(1, keepdim=True)
            attenuated_M1 = ratio_M1 * constants.attenuation_M.unsqueeze(1)
            scale_Mm = ratio_M1.clamp_max(1) * scale_Mm
            scale_Mc = (attenuated_M1 if self.task_ratio == "code" else 1 / attenuated_M1).clamp_max(1) * scale_Mc
        return torch.cat([scale_Mm, scale_Mc], dim=1)

    def _kd_scale(self, kd_norm_M: Tensor, norm_M: Tensor, constants: TaskConstants) -> Tensor:
        """What the distillation's gradient is multiplied by, ``[M]``: beta of Eq. 11, to the norm of the rest.

        The scale is taken of the unweighted gradient, in which lambda and T^2 have no part: with beta on they
        cancel, and so they do here without rounding.
        """
        if self.beta == "one":
            return constants.kd_weight_M
        on_M = (kd_norm_M > _NO_KD) & (constants.kd_weight_M > 0)
        scale_M = torch.where(on_M, norm_M / kd_norm_M.clamp_min(_NO_KD), 0)
        return scale_M if self.beta_cap is None else scale_M.clamp_max(self.beta_cap)

    def _prior(self, step: Step, constants: TaskConstants) -> Tensor | None:
        """pi of Eq. 5, ``[M, K]``; from the gradients it lags one step, and is 0 before the first."""
        if self.prior == "grads":
            phi_MK = step.buffers["phi_MK"]
            sum_M1 = phi_MK.sum(1, keepdim=True)
            return torch.where(sum_M1 > 0, (phi_MK / sum_M1.clamp_min(_TINY)).clamp_min(_TINY).log(), 0)
        return None if constants.prior_K is None else constants.prior_K.expand(step.task.members, -1)
