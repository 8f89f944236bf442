"""The rows of the paper's tables: what each system changes in a run file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Sections = Mapping[str, Any]
"""of a run file: each replaces the base's whole section"""


@dataclass(frozen=True)
class Row:
    """One row of a table."""

    label: str
    """as in numbers.yaml"""
    changes: Sections
    large: Mapping[str, Any] = field(default_factory=dict)
    """fields that the released codes set otherwise for ImageNetSubset and Food101, by dotted name"""

    @property
    def slug(self) -> str:
        """The label as a file name."""
        words = "".join(c if c.isalnum() else " " for c in self.label.lower()).split()
        return "_".join(words)


def row(label: str, method: str, *, stage2: bool = False, large: Mapping[str, Any] | None = None, **fields: Any) -> Row:
    """A method with these fields, ``lambda_`` for ``lambda``, and the second stage of Long-Tailed CIL or not."""
    own = {"name": method, **{name.rstrip("_"): value for name, value in fields.items()}}
    return Row(label, {"method": own, "stage2": {} if stage2 else None}, large or {})


OURS = row("gradient reweighting", "gradient_reweighting")
FINETUNE = row("finetune", "finetune")
BIC, WA = row("BiC", "bic"), row("WA", "wa")
FOSTER, MAF_DRC = row("FOSTER", "foster"), row("MAF-DRC", "maf_drc")
EEIL_2STAGE = row("EEIL-2stage", "eeil", stage2=True)
LUCIR_2STAGE = row("LUCIR-2stage", "lucir", stage2=True, large={"method.lambda": 10.0})
PODNET_2STAGE = row("PODNet-2stage", "podnet", stage2=True)
FOSTER_2STAGE = row("FOSTER-2stage", "foster", stage2=True)

SYSTEMS = (
    FINETUNE,
    row("iCaRL", "icarl"),
    row("IL2M", "il2m"),
    BIC,
    WA,
    row("SS-IL", "ss_il"),
    FOSTER,
    MAF_DRC,
    EEIL_2STAGE,
    LUCIR_2STAGE,
    PODNET_2STAGE,
    FOSTER_2STAGE,
    OURS,
)
"""Table 1, with finetuning for a reference point"""

RECOGNITION = (
    row("cross-entropy", "finetune"),
    row("ROS", "ros"),
    row("Focal", "focal"),
    row("LDAM", "ldam"),
    row("LDAM-DRW", "ldam", drw=True),
    row("CB", "class_balanced"),
    row("CB softmax", "class_balanced", form="softmax", cb_beta=0.9999),
    row("IB", "ib"),
    row("balanced softmax", "balanced_softmax"),
    row("EQL v2", "eql_v2"),
    row("CMO", "cmo"),
    row("gradient reweighting without regularised softmax", "gradient_reweighting", prior="none"),
    OURS,
)
"""Table 2, with cross-entropy for a reference point and both forms of LDAM and CB"""

ABLATION = (
    row("DAKD alone", "gradient_reweighting", group="none", task_ratio="none", beta="one"),
    row("DAKD + DGR + distillation reweighted", "gradient_reweighting", reweight_kd=True),
    row("DAKD + GR", "gradient_reweighting", group="joint"),
    row("DAKD + DGR (the method)", "gradient_reweighting"),
)
"""Table 3. Without reweighting there is no reweighted gradient to scale the distillation's to: beta is one."""

_IN_TABLE_3 = {
    ("dakd", "none", False),
    ("dakd", "decoupled", True),
    ("dakd", "joint", False),
    ("dakd", "decoupled", False),
}

ABLATION_REST = tuple(
    row(
        f"{kd}, {group}{', distillation reweighted' if twice else ''}",
        "gradient_reweighting",
        kd=kd,
        group=group,
        reweight_kd=twice,
        beta="one" if group == "none" else "norm",
        task_ratio="none" if group == "none" else "code",
    )
    for kd in ("none", "kd", "dakd")
    for group in ("none", "joint", "decoupled")
    for twice in (False, True)
    if (not twice or (kd != "none" and group != "none")) and (kd, group, twice) not in _IN_TABLE_3
)
"""the other combinations of Table 3's switches; what is left out reweights no distillation, or by no weights"""

DISTILLATIONS = tuple(
    row(kd.upper(), "gradient_reweighting", kd=kd) for kd in ("kd", "bkd", "mkd", "dckd", "dpkd", "dakd")
)
"""Fig. 5"""
