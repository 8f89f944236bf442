"""Gradient reweighting for imbalanced class-incremental learning (He & Zhu, CVPR 2024).

The loss is cross-entropy with a log prior plus distribution-aware distillation, or any other. The network learns from
its ordinary gradient; the classifier from a reweighted one (Eq. 11): each class's row is scaled by its
accumulated gradient norm within its group (Eq. 4), old and new classes against each other (Eq. 10), and the
distillation's gradient is scaled to the norm of the reweighted cross-entropy's. All of it is closed form in
the logits, so one backward pass is all it takes.

Where the paper's text and its released code differ, a switch chooses; ``preset`` sets them all at once.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import model_validator
from torch import Tensor

from trainer.distill.base import DistillationName, KnowledgeDistillation, prepare
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
    paper: ClassVar[str] = "He & Zhu, Gradient Reweighting: Towards Imbalanced Class-Incremental Learning, CVPR 2024"
    needs_teacher: ClassVar[bool] = True

    preset: Literal["official", "paper", "pilot"] = hyperparameter(
        "official", "sets every switch below that is not given: released code, paper's text, or the authors' later port"
    )
    alpha: float = hyperparameter(
        1.0, "strength of the attenuation (gamma of Eq. 10)", per_member=True, first_task=1, ge=0, le=100
    )
    lambda_: float = distillation_weight(0.7, "base weight of the distillation (Eq. 9)")
    temperature: float = distillation_temperature()
    prior: Literal["counts", "all_counts", "grads", "none"] = hyperparameter(
        "counts",
        "log prior in the softmax (Eq. 5): class counts with old ones capped at their exemplars, "
        "full class counts, accumulated gradients, or none",
    )
    group: Literal["decoupled", "joint", "none"] = hyperparameter(
        "decoupled", "reweight old and new classes apart, all together, or not at all"
    )
    phi_reset: bool = hyperparameter(True, "accumulate gradient norms afresh in every task", first_task=1)
    reweight_bias: bool = hyperparameter(True, "scale the bias gradients like their rows")
    task_ratio: Literal["code", "text", "none"] = hyperparameter(
        "code", "how old and new classes are scaled against each other (Eq. 10)", first_task=1
    )
    attenuate_by: Literal["images", "classes"] = hyperparameter(
        "images", "what the old share in the attenuation counts", first_task=1
    )
    kd: DistillationName = hyperparameter("dakd", "the distillation (Fig. 5)", first_task=1)
    kd_weight: Literal["images", "classes"] = hyperparameter(
        "images", "lambda grows with sqrt(old images / new images), or with old classes / new classes", first_task=1
    )
    kd_t2: bool = hyperparameter(True, "multiply the distillation by the temperature squared", first_task=1)
    beta: Literal["norm", "one"] = hyperparameter(
        "norm", "scale the classifier's distillation gradient to the cross-entropy's norm, or leave it", first_task=1
    )
    beta_cap: float | None = hyperparameter(
        None, "largest scale of the distillation gradient; null: none", first_task=1, gt=0
    )
    reweight_kd: bool = hyperparameter(
        False, "reweight the distillation gradient by class too (the ablation)", first_task=1
    )
    lost_norm: Literal["l2", "max"] = hyperparameter("l2", "dakd: norm of the lost-data shares (Eq. 8)", first_task=1)
    entropy_smoothing: float = hyperparameter(
        0.001, "dakd: images added to each class's loss inside the entropy (Eq. 7)", first_task=1, ge=0, le=1000
    )

    @model_validator(mode="before")
    @classmethod
    def _preset_fills_switches(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        preset = given.get("preset")
        return {**PRESETS.get(preset, {}), **given} if isinstance(preset, str) else given

    # -- hooks ------------------------------------------------------------------------------------

    def plan(self, task: TaskContext) -> tuple[Stage, ...]:
        constants = self.constants(task)
        phi_MK = task.zeros_MK()
        if not self.phi_reset and "phi_MK" in task.method_state:
            phi_MK[:, : task.old] = task.method_state["phi_MK"][:, : task.old]
        loss: Callable[[Step], Terms] = partial(self.terms, constants=constants)
        reweights = self.group != "none" or self.prior == "grads" or constants.distillation is not None
        adjust = partial(self.reweight, constants=constants) if reweights else None
        return (Stage("train", task.optim, loss, adjust, {"phi_MK": phi_MK}),)

    # -- the method -------------------------------------------------------------------------------

    def constants(self, task: TaskContext) -> TaskConstants:
        """Everything that depends on class counts alone."""
        counts_K, kept_K, m, ones_M = (
            task.counts_K,
            task.kept_K,
            task.old,
            torch.ones_like(task.hyperparameters["alpha"]),
        )
        prior_counts_K = {"counts": kept_K, "all_counts": counts_K}.get(self.prior)
        prior_K = None if prior_counts_K is None else log_prior(prior_counts_K).to(task.dtype)
        if m == 0:
            return TaskConstants(prior_K, None, ones_M, ones_M)
        images_old, images_new = float(counts_K[:m].sum()), float(counts_K[m:].sum())
        by_images = self.attenuate_by == "images"
        old_share = images_old / (images_old + images_new) if by_images else m / task.seen
        growth = math.sqrt(images_old / images_new) if self.kd_weight == "images" else m / task.new
        old = task.old_classes(self.lost_norm, self.entropy_smoothing)
        T_M = task.hyperparameters["temperature"]
        return TaskConstants(
            prior_K,
            prepare(self.kd, old),
            torch.exp(-task.hyperparameters["alpha"] * old_share),
            task.hyperparameters["lambda"] * growth * (T_M**2 if self.kd_t2 else 1),
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
        prior_MK = self._prior(step, constants)
        ce_MKD, ce_bias_MK = _at_head(cross_entropy_grad(step.logits_MBK, step.labels_MB, prior_MK), step)
        phi_MK = step.buffers["phi_MK"].add_(ce_MKD.norm(dim=2))
        scale_MK = self._scale(phi_MK, step.task, constants)
        grad_MKD = scale_MK.unsqueeze(2) * ce_MKD
        grad_bias_MK = scale_MK * ce_bias_MK if self.reweight_bias else ce_bias_MK
        if constants.distillation is not None:
            m = step.task.old
            kd_MmD, kd_bias_Mm = self._distillation_at_head(step, constants, norm_M=grad_MKD.norm(dim=(1, 2)))
            if self.reweight_kd:
                kd_MmD, kd_bias_Mm = kd_MmD * scale_MK[:, :m, None], kd_bias_Mm * scale_MK[:, :m]
            grad_MKD[:, :m] += kd_MmD
            grad_bias_MK[:, :m] += kd_bias_Mm
        step.head.weight_MKD.grad, step.head.bias_MK.grad = grad_MKD, grad_bias_MK

    def _scale(self, phi_MK: Tensor, task: TaskContext, constants: TaskConstants) -> Tensor:
        """``alpha_j r_j``: class-balance ratio (Eq. 4) times task-balance ratio (Eq. 10), ``[M, K]``."""
        phi_MK = phi_MK.clamp_min(_TINY)
        if self.group == "none":
            return torch.ones_like(phi_MK)
        if self.group == "joint" or task.old == 0:
            return phi_MK.amin(1, keepdim=True) / phi_MK
        old, new = phi_MK[:, : task.old], phi_MK[:, task.old :]
        ratio_M = new.mean(1) / old.mean(1)
        r_old, r_new = self._task_ratio(ratio_M, constants.attenuation_M)
        return torch.cat(
            [r_old[:, None] * old.amin(1, keepdim=True) / old, r_new[:, None] * new.amin(1, keepdim=True) / new], dim=1
        )

    def _task_ratio(self, ratio_M: Tensor, attenuation_M: Tensor) -> tuple[Tensor, Tensor]:
        """``r_old, r_new`` of Eq. 10 from R = mean accumulated gradient of new over that of old classes."""
        if self.task_ratio == "none":
            return torch.ones_like(ratio_M), torch.ones_like(ratio_M)
        new_M = ratio_M * attenuation_M if self.task_ratio == "code" else 1 / (ratio_M * attenuation_M)
        return ratio_M.clamp_max(1), new_M.clamp_max(1)

    def _distillation_at_head(self, step: Step, constants: TaskConstants, norm_M: Tensor) -> tuple[Tensor, Tensor]:
        """Distillation gradients of the old rows, scaled by beta (Eq. 11) to the norm of the reweighted rest.

        The scale is taken of the unweighted gradient, in which lambda and T^2 have no part: with beta on they
        cancel, and so they do here without rounding.
        """
        assert constants.distillation is not None
        kd_MmD, kd_bias_Mm = constants.distillation.at_head(step.pair())
        if self.beta == "one":
            scale_M = constants.kd_weight_M
        else:
            kd_norm_M = kd_MmD.norm(dim=(1, 2))
            on_M = (kd_norm_M > _NO_KD) & (constants.kd_weight_M > 0)
            scale_M = torch.where(on_M, norm_M / kd_norm_M.clamp_min(_NO_KD), 0)
            if self.beta_cap is not None:
                scale_M = scale_M.clamp_max(self.beta_cap)
        return scale_M[:, None, None] * kd_MmD, scale_M[:, None] * kd_bias_Mm

    def _prior(self, step: Step, constants: TaskConstants) -> Tensor | None:
        """pi of Eq. 5, ``[M, K]``; from the gradients it lags one step, and is 0 before the first."""
        if self.prior == "grads":
            phi_MK = step.buffers["phi_MK"]
            share_MK = phi_MK / phi_MK.sum(1, keepdim=True).clamp_min(_TINY)
            return torch.where(phi_MK.sum(1, keepdim=True) > 0, share_MK.clamp_min(_TINY).log(), 0)
        return None if constants.prior_K is None else constants.prior_K.expand(step.task.members, -1)


def _at_head(grad_MBK: Tensor, step: Step) -> tuple[Tensor, Tensor]:
    """Gradient in the logits -> gradients of the head's rows ``[M, K, D]`` and biases ``[M, K]``."""
    return grad_MBK.transpose(1, 2) @ step.features_MBD.detach(), grad_MBK.sum(1)
