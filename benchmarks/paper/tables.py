"""Every table and figure as data: rows, columns, metric."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from benchmarks.paper import systems
from benchmarks.paper.systems import Row

DRAWN = Literal["bars", "steps", "classes"]
_NUMBERS = {
    "bars": "",
    "steps": "; the table: after the last task",
    "classes": "; the table: the largest over the smallest class's in the last task",
}


@dataclass(frozen=True)
class Column:
    """A run file of a data set, and the fields to change in it."""

    label: str
    """as in numbers.yaml"""
    protocol: str
    """``runs/<data>_<protocol>.yaml``"""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """fields by dotted name"""


@dataclass(frozen=True)
class Table:
    """One table or figure of the paper."""

    title: str
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    data: Mapping[str, tuple[str, ...]]
    """the paper's data sets with the columns that it reports for each; different data sets get all columns"""
    metric: str = "acc_task_mean_pct"
    """column of the table `runs`; of `tasks` if steps are drawn, of `classes` if classes are"""
    unit: str = "average accuracy over all phases (ACC), %"
    higher_is_better: bool | None = True
    """None where neither is"""
    drawn: DRAWN = "bars"
    further_rows: tuple[Row, ...] = ()
    """rows that the paper does not have, trained only if selected by label"""
    log: bool = False
    """whether the metric is drawn on a log scale"""

    @property
    def numbers(self) -> str:
        """What the numbers of the table mean, in words."""
        return self.unit + _NUMBERS[self.drawn]


def _all(columns: tuple[Column, ...]) -> tuple[str, ...]:
    return tuple(column.label for column in columns)


_PROTOCOLS = tuple(Column(name, name) for name in ("lfs10", "lfs20", "lfh5", "lfh10"))
_LFS10 = _PROTOCOLS[:1]
_RATIOS = tuple(
    Column(f"ratio {ratio}", "recognition", {"data.imbalance.ratio": float(ratio)}) for ratio in (100, 50, 10)
)
_STEPWISE = (
    *(Column(f"ratio {ratio}", "lfs10", {"data.imbalance.ratio": float(ratio)}) for ratio in (50, 100, 200)),
    *(Column(f"{count} exemplars", "lfs10", {"memory.per_class": count}) for count in (10, 50)),
)
_STEP = "phase_acc_task_mean_pct"

TABLES: dict[str, Table] = {
    "table1": Table(
        "Table 1: class-incremental learning",
        systems.SYSTEMS,
        _PROTOCOLS,
        {name: _all(_PROTOCOLS) for name in ("cifar100_lt", "imagenet_subset_lt", "food101_lt")},
    ),
    "table2": Table(
        "Table 2: long-tailed recognition, one task",
        systems.RECOGNITION,
        _RATIOS,
        {"cifar100_lt": _all(_RATIOS)},
        unit="top-1 accuracy after the last epoch, %",
    ),
    "table3": Table(
        "Table 3: ablation",
        systems.ABLATION,
        _PROTOCOLS,
        {"food101_lt": ("lfs10", "lfs20"), "imagenet_subset_lt": ("lfh5", "lfh10")},
        further_rows=systems.ABLATION_REST,
    ),
    "fig2": Table(
        "Fig. 2: gradients of the classifier's rows",
        (systems.FINETUNE, systems.OURS),
        _LFS10,
        {"cifar100_lt": _all(_LFS10)},
        metric="head_grad_norm",
        unit="norm of the row's gradient, mean over the task's steps",
        higher_is_better=None,
        drawn="classes",
        log=True,
    ),
    "fig4": Table(
        "Fig. 4: accuracy step by step, for ratios and memories",
        (
            systems.EEIL_2STAGE,
            systems.LUCIR_2STAGE,
            systems.PODNET_2STAGE,
            systems.FOSTER_2STAGE,
            systems.MAF_DRC,
            systems.OURS,
        ),
        _STEPWISE,
        {"cifar100_lt": _all(_STEPWISE)},
        metric=_STEP,
        unit="accuracy on all classes seen, %",
        drawn="steps",
    ),
    "fig5": Table(
        "Fig. 5: forgetting with six distillations",
        systems.DISTILLATIONS,
        _LFS10,
        {"cifar100_lt": _all(_LFS10)},
        metric="forgetting_pct",
        unit="forgetting, %",
        higher_is_better=False,
        drawn="steps",
    ),
    "fig6": Table(
        "Fig. 6: variance of the norms of the classifier's rows",
        (systems.FINETUNE, systems.BIC, systems.WA, systems.OURS),
        _LFS10,
        {"cifar100_lt": _all(_LFS10)},
        metric="head_norm_var",
        unit="variance over classes of the norm of the classifier's row",
        higher_is_better=None,
        drawn="steps",
        log=True,
    ),
}
